//! Images as data: their files, their pixels as real numbers, and the command on them.

mod classify;
mod command;
mod files;
mod pictures;
mod pixels;
