//! The update as a candle operation in place.

use super::{Update, cpu};
use crate::conv2d::op::slice;
use candle_core::{CpuStorage, InplaceOp2, Layout, Result, Storage, Tensor, bail};

pub struct Adam(pub Update);

impl InplaceOp2 for Adam {
    fn name(&self) -> &'static str {
        "adam"
    }

    fn cpu_fwd(&self, state: &mut CpuStorage, layout: &Layout, gradient: &CpuStorage, gradient_layout: &Layout) -> Result<()> {
        let Some((from, to)) = layout.contiguous_offsets() else { bail!("adam: expected a contiguous state") };
        match state {
            CpuStorage::F32(state) => cpu::adam(&self.0, &mut state[from..to], slice(gradient, gradient_layout)?),
            _ => bail!("adam: expected a state in f32"),
        }
        Ok(())
    }
}

pub fn sum_of_squares(gradient: &Tensor) -> Result<f64> {
    let gradient = gradient.contiguous()?;
    let (storage, layout) = gradient.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => Ok(slice::<f32>(storage, layout)?.iter().map(|v| *v as f64 * *v as f64).sum()),
        _ => bail!("sum_of_squares: no kernel for this device"),
    }
}
