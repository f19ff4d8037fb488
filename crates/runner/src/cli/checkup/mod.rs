//! `ddpm doctor --device`: whether a device computes what it should, part by part, so that a wrong result of a whole network need not be
//! searched for.

#[cfg(feature = "emulation")]
mod operations;
#[cfg(feature = "emulation")]
pub use operations::operations;

use crate::base::device::Device;
use crate::base::error::ConfigError;
use crate::base::exit::Exit;
use crate::base::text::print;
use anyhow::Result;
use ddpm_kernels::device::Device as Programs;
use ddpm_kernels::device::probe::probe;

fn opened(device: Device) -> Result<Box<dyn Programs>> {
    device.check()?;
    let none = || ConfigError::new("--device", "", "expected a GPU, got cpu");
    Ok(device.open()?.ok_or_else(none)?)
}

/// What the device is, and each kind of convolution and product on whole numbers, whose result is known to the last bit.
pub fn libraries(device: Device) -> Result<Exit> {
    let mut programs = opened(device)?;
    print(&format!("device      {device}: {}\n", programs.name()));
    for (word, value) in programs.about()? {
        print(&format!("{word:<11} {value}\n"));
    }
    let tried = probe(&mut *programs);
    for one in &tried {
        let outcome = one.result.as_ref().map_or_else(|why| format!("FAILED: {why}"), |()| "ok".into());
        print(&format!("{}: {outcome}\n", one.what));
    }
    let failed = tried.iter().filter(|one| one.result.is_err()).count();
    print(&format!("{} of {} are right\n", tried.len() - failed, tried.len()));
    Ok(if failed == 0 { Exit::Ok } else { Exit::Failure })
}
