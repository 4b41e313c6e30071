//! What looks on at a training.

use std::ops::ControlFlow;

use cnflow::train::{Checkpoint, Progress, Watch};

/// Keeps the first checkpoint of a run.
#[derive(Default)]
pub struct First(pub Option<Checkpoint>);

impl Watch for First {
    fn see(&mut self, _progress: &Progress<'_>) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    fn keep(&mut self, checkpoint: &Checkpoint) -> cnflow::Result<()> {
        self.0.get_or_insert_with(|| checkpoint.clone());
        Ok(())
    }
}

/// Keeps every checkpoint of a run.
#[derive(Default)]
pub struct Every(pub Vec<Checkpoint>);

impl Watch for Every {
    fn see(&mut self, _progress: &Progress<'_>) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    fn keep(&mut self, checkpoint: &Checkpoint) -> cnflow::Result<()> {
        self.0.push(checkpoint.clone());
        Ok(())
    }
}
