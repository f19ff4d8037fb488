//! `ddpm doctor --device`: each kind of convolution and product by itself.

use crate::base::device::Device;
use crate::base::error::ConfigError;
use crate::base::exit::Exit;
use crate::base::text::print;
use anyhow::Result;
use ddpm_kernels::device::Device as Programs;
use ddpm_kernels::device::probe::probe;

/// The device, opened; an error where there is none.
pub fn opened(device: Device) -> Result<Box<dyn Programs>> {
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
