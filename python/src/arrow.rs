//! Frames of any library by the Arrow C stream interface: pandas, polars, pyarrow, DuckDB.
//!
//! This is the only module with unsafe code. It reads memory that another library describes, so each access states what
//! it relies on: the interface's own rules (<https://arrow.apache.org/docs/format/CStreamInterface.html>) and nothing
//! else. What is read is copied at once; every structure is released before this module returns.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_int, c_void};

use pyo3::prelude::*;
use pyo3::types::PyCapsule;

use crate::error::{Outcome, Raised, Trouble};

/// A column: its name, and its numbers or why it has none.
pub struct Column {
    /// Empty for a series without a name.
    pub name: String,
    /// The numbers, or what they are instead.
    pub values: Outcome<Vec<f64>>,
}

#[repr(C)]
struct Schema {
    format: *const c_char,
    name: *const c_char,
    metadata: *const c_char,
    flags: i64,
    n_children: i64,
    children: *mut *mut Schema,
    dictionary: *mut Schema,
    release: Option<unsafe extern "C" fn(*mut Schema)>,
    private_data: *mut c_void,
}

#[repr(C)]
struct Array {
    length: i64,
    null_count: i64,
    offset: i64,
    n_buffers: i64,
    n_children: i64,
    buffers: *mut *const c_void,
    children: *mut *mut Array,
    dictionary: *mut Array,
    release: Option<unsafe extern "C" fn(*mut Array)>,
    private_data: *mut c_void,
}

#[repr(C)]
struct Stream {
    get_schema: Option<unsafe extern "C" fn(*mut Stream, *mut Schema) -> c_int>,
    get_next: Option<unsafe extern "C" fn(*mut Stream, *mut Array) -> c_int>,
    get_last_error: Option<unsafe extern "C" fn(*mut Stream) -> *const c_char>,
    release: Option<unsafe extern "C" fn(*mut Stream)>,
    private_data: *mut c_void,
}

impl Drop for Schema {
    fn drop(&mut self) {
        if let Some(release) = self.release {
            // SAFETY: a structure with a release callback is to be released once, by its consumer; that is this one.
            unsafe { release(self) }
        }
    }
}

impl Drop for Array {
    fn drop(&mut self) {
        if let Some(release) = self.release {
            // SAFETY: as for a schema. Children are released by their parent and are never dropped here.
            unsafe { release(self) }
        }
    }
}

const EMPTY_SCHEMA: Schema = Schema {
    format: std::ptr::null(),
    name: std::ptr::null(),
    metadata: std::ptr::null(),
    flags: 0,
    n_children: 0,
    children: std::ptr::null_mut(),
    dictionary: std::ptr::null_mut(),
    release: None,
    private_data: std::ptr::null_mut(),
};

const EMPTY_ARRAY: Array = Array {
    length: 0,
    null_count: 0,
    offset: 0,
    n_buffers: 0,
    n_children: 0,
    buffers: std::ptr::null_mut(),
    children: std::ptr::null_mut(),
    dictionary: std::ptr::null_mut(),
    release: None,
    private_data: std::ptr::null_mut(),
};

/// The columns of an object with `__arrow_c_stream__`; those that `wanted` does not name are not read.
pub fn columns(frame: &Bound<'_, PyAny>, wanted: &dyn Fn(&str) -> bool) -> PyResult<Vec<Column>> {
    let py = frame.py();
    let capsule = frame.call_method0("__arrow_c_stream__")?;
    let broken =
        |what: &str| Trouble::invalid(format!("the frame's Arrow stream {what}"), "give a NumPy array instead");
    let capsule = capsule.downcast_into::<PyCapsule>().map_err(|_| broken("is not a capsule").raise(py))?;
    if capsule.name()?.is_none_or(|name| name != c"arrow_array_stream") {
        return Err(broken("has another name").raise(py));
    }
    let stream = capsule.pointer().cast::<Stream>();
    if stream.is_null() {
        return Err(broken("is empty").raise(py));
    }
    // SAFETY: a capsule of this name holds a stream, which stays where it is until the capsule goes; it is ours alone,
    // for it was made by the call above. The capsule's destructor releases it.
    unsafe { read(stream, wanted) }.raised(py)
}

/// # Safety
/// `stream` points to a stream that nothing else uses.
unsafe fn read(stream: *mut Stream, wanted: &dyn Fn(&str) -> bool) -> Outcome<Vec<Column>> {
    let failed = |code: c_int| {
        // SAFETY: the text is valid until the next call on the stream.
        let words = unsafe { (*stream).get_last_error.map(|last| last(stream)) };
        let words = words.filter(|text| !text.is_null()).map(|text| unsafe { CStr::from_ptr(text) }.to_string_lossy());
        let words = words.unwrap_or_else(|| format!("error {code}").into());
        Trouble::invalid(format!("the frame cannot be read: {words}"), "")
    };
    // SAFETY: a stream that is not released has both callbacks; the schema and the arrays are empty before they are
    // filled, as the interface wants.
    unsafe {
        let (Some(get_schema), Some(get_next)) = ((*stream).get_schema, (*stream).get_next) else {
            return Err(Trouble::invalid("the frame's Arrow stream was read before", "give the frame itself"));
        };
        let mut schema = EMPTY_SCHEMA;
        let code = get_schema(stream, &mut schema);
        if code != 0 {
            return Err(failed(code));
        }
        let mut found = Found::of(&schema, wanted);
        loop {
            let mut array = EMPTY_ARRAY;
            let code = get_next(stream, &mut array);
            if code != 0 {
                return Err(failed(code));
            }
            if array.release.is_none() {
                return Ok(found.end());
            }
            found.add(&array);
        }
    }
}

/// A text of the interface.
///
/// # Safety
/// `text` is null or ends with a zero.
unsafe fn text(text: *const c_char) -> String {
    // SAFETY: by the caller.
    if text.is_null() { String::new() } else { unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned() }
}

/// What was read so far.
struct Found {
    /// A table; else one series.
    table: bool,
    kinds: Vec<Option<Kind>>,
    columns: Vec<Column>,
    /// Of each column how many rows are null, and the first of them.
    nulls: Vec<(usize, usize)>,
    rows: usize,
}

/// How the numbers of a column lie in memory.
#[derive(Clone, Copy)]
enum Kind {
    Bool,
    I8,
    U8,
    I16,
    U16,
    I32,
    U32,
    I64,
    U64,
    F16,
    F32,
    F64,
}

impl Found {
    /// # Safety
    /// The schema was filled by a stream and is not released.
    unsafe fn of(schema: &Schema, wanted: &dyn Fn(&str) -> bool) -> Self {
        // SAFETY: by the caller; a schema has as many children as it says.
        let (table, fields): (bool, Vec<&Schema>) = unsafe {
            match text(schema.format) == "+s" {
                true => (true, (0..schema.n_children as usize).map(|j| &**schema.children.add(j)).collect()),
                false => (false, vec![schema]),
            }
        };
        let (mut kinds, mut columns) = (Vec::new(), Vec::new());
        for field in fields {
            // SAFETY: as above.
            let (format, name) = unsafe { (text(field.format), text(field.name)) };
            let kind = if field.dictionary.is_null() { kind(&format) } else { Err("categories") };
            let (kind, values) = match kind {
                _ if !wanted(&name) => (None, Ok(Vec::new())),
                Ok(kind) => (Some(kind), Ok(Vec::new())),
                Err(what) => {
                    let problem = format!("the column `{name}` has {what}, expected numbers");
                    (None, Err(Trouble::invalid(problem, "leave it out, or convert it to numbers")))
                }
            };
            kinds.push(kind);
            columns.push(Column { name, values });
        }
        Self { table, kinds, nulls: vec![(0, 0); columns.len()], columns, rows: 0 }
    }

    /// # Safety
    /// The array was filled by the stream of the schema and is not released.
    unsafe fn add(&mut self, array: &Array) {
        for (j, (kind, column)) in self.kinds.iter().zip(&mut self.columns).enumerate() {
            let (Some(kind), Ok(values)) = (kind, &mut column.values) else { continue };
            // SAFETY: an array has the children of its schema. A row of a table is null where the table says so or the
            // column does; the offset of a table counts for its columns too.
            let null = unsafe {
                let field = if self.table { &**array.children.add(j) } else { array };
                let from = if self.table { array.offset + field.offset } else { field.offset } as usize;
                let n = array.length as usize;
                let (rows, own) = (Validity::of(array).filter(|_| self.table), Validity::of(field));
                let hidden = |i: usize| rows.is_some_and(|bits| bits.null(array.offset as usize + i));
                let null = |i: &usize| hidden(*i) || own.is_some_and(|bits| bits.null(from + i));
                let nulls = || (0..n).filter(null);
                let first = if rows.is_some() || own.is_some() { nulls().next() } else { None };
                if first.is_none() && n > 0 {
                    numbers(*kind, *field.buffers.add(1), from, n, values);
                }
                first.map(|first| (nulls().count(), first))
            };
            if let Some((count, first)) = null {
                let (before, row) = self.nulls[j];
                self.nulls[j] = (before + count, if before > 0 { row } else { self.rows + first });
            }
        }
        self.rows += array.length as usize;
    }

    /// The columns, once all was read.
    fn end(mut self) -> Vec<Column> {
        for (column, (count, row)) in self.columns.iter_mut().zip(&self.nulls).filter(|(_, (count, _))| *count > 0) {
            let name = &column.name;
            let problem = match count {
                1 => format!("row {row} of the column `{name}` is null (rows are counted from 0)"),
                _ => format!("{count} rows of the column `{name}` are null, the first is row {row} (counted from 0)"),
            };
            column.values = Err(Trouble::invalid(problem, "leave out rows with missing values, or fill them"));
        }
        self.columns
    }
}

/// The kind of a format string, or what it holds that is not numbers.
fn kind(format: &str) -> Result<Kind, &'static str> {
    Ok(match format {
        "b" => Kind::Bool,
        "c" => Kind::I8,
        "C" => Kind::U8,
        "s" => Kind::I16,
        "S" => Kind::U16,
        "i" => Kind::I32,
        "I" => Kind::U32,
        "l" => Kind::I64,
        "L" => Kind::U64,
        "e" => Kind::F16,
        "f" => Kind::F32,
        "g" => Kind::F64,
        "u" | "U" | "vu" => return Err("text"),
        "n" => return Err("nulls only"),
        _ if format.starts_with('t') => return Err("times"),
        _ if format.starts_with('d') => return Err("decimal numbers"),
        _ => return Err("values of another type"),
    })
}

/// The bit of a bitmap.
///
/// # Safety
/// The bitmap reaches so far.
unsafe fn bit(bits: *const u8, i: usize) -> bool {
    // SAFETY: by the caller.
    unsafe { *bits.add(i / 8) >> (i % 8) & 1 == 1 }
}

/// The bits that tell which rows of an array hold values.
#[derive(Clone, Copy)]
struct Validity(*const u8);

impl Validity {
    /// None where every row does.
    ///
    /// # Safety
    /// The array is not released, and stays so while the bits are used.
    unsafe fn of(array: &Array) -> Option<Self> {
        if array.null_count == 0 || array.n_buffers == 0 {
            return None;
        }
        // SAFETY: the first buffer is the bitmap of validity, or null where every row is valid.
        let bits = unsafe { *array.buffers }.cast::<u8>();
        (!bits.is_null()).then_some(Self(bits))
    }

    /// Whether row `i` of the buffer is null.
    ///
    /// # Safety
    /// The array has so many rows.
    unsafe fn null(self, i: usize) -> bool {
        // SAFETY: by the caller.
        unsafe { !bit(self.0, i) }
    }
}

/// Appends `n` numbers of a buffer.
///
/// # Safety
/// The buffer has `from + n` numbers of this kind.
unsafe fn numbers(kind: Kind, buffer: *const c_void, from: usize, n: usize, into: &mut Vec<f64>) {
    /// # Safety
    /// As the caller.
    unsafe fn all<T: Copy>(buffer: *const c_void, from: usize, n: usize, into: &mut Vec<f64>, wide: impl Fn(T) -> f64) {
        let buffer = buffer.cast::<T>();
        // SAFETY: by the caller; buffers need not be aligned for their type.
        into.extend((from..from + n).map(|i| wide(unsafe { buffer.add(i).read_unaligned() })));
    }
    // SAFETY: by the caller.
    unsafe {
        match kind {
            Kind::Bool => into.extend((from..from + n).map(|i| f64::from(u8::from(bit(buffer.cast(), i))))),
            Kind::I8 => all::<i8>(buffer, from, n, into, f64::from),
            Kind::U8 => all::<u8>(buffer, from, n, into, f64::from),
            Kind::I16 => all::<i16>(buffer, from, n, into, f64::from),
            Kind::U16 => all::<u16>(buffer, from, n, into, f64::from),
            Kind::I32 => all::<i32>(buffer, from, n, into, f64::from),
            Kind::U32 => all::<u32>(buffer, from, n, into, f64::from),
            Kind::I64 => all::<i64>(buffer, from, n, into, |v| v as f64),
            Kind::U64 => all::<u64>(buffer, from, n, into, |v| v as f64),
            Kind::F16 => all::<u16>(buffer, from, n, into, half),
            Kind::F32 => all::<f32>(buffer, from, n, into, f64::from),
            Kind::F64 => all::<f64>(buffer, from, n, into, |v| v),
        }
    }
}

/// A 16-bit float.
fn half(bits: u16) -> f64 {
    let (sign, exponent, rest) = (bits >> 15, i32::from(bits >> 10 & 31), f64::from(bits & 1023));
    let size = match exponent {
        0 => rest * 2f64.powi(-24),
        31 if rest == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (1024.0 + rest) * 2f64.powi(exponent - 25),
    };
    if sign == 1 { -size } else { size }
}
