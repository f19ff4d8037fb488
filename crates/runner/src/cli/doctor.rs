//! `ddpm doctor`: what this machine can do.

use super::checkup;
use crate::base::data::{Cache, DataSource};
use crate::base::device::{self, Device};
use crate::base::exit::Exit;
use crate::base::text::print;
use crate::metrics::features;
use anyhow::Result;
use clap::Args;
use ddpm_kernels::conv2d::algorithm::Algorithm;
use ddpm_kernels::gemm;
use ddpm_kernels::simd::Isa;
use ddpm_model::{Arithmetic, SPLIT_CHANNELS};

#[derive(Debug, Args)]
pub struct Doctor {
    /// Open this device, and try what its libraries compute against plain loops
    #[arg(long)]
    device: Option<Device>,
    /// Compare every operation of a training step and of sampling with its emulation on the processor
    #[cfg(feature = "emulation")]
    #[arg(long, requires = "device")]
    operations: bool,
}

impl Doctor {
    pub fn run(self) -> Result<Exit> {
        let Some(device) = self.device else { return self.machine() };
        #[cfg(feature = "emulation")]
        if self.operations {
            return checkup::operations(device);
        }
        checkup::libraries(device)
    }

    /// What is here.
    fn machine(self) -> Result<Exit> {
        let sets = |here: bool| Isa::ALL.into_iter().filter(|isa| isa.is_available() == here).map(Isa::name).collect::<Vec<_>>().join(", ");
        let cores = std::thread::available_parallelism()?;
        print(&format!("program     {} at {}\n", env!("CARGO_PKG_VERSION"), env!("DDPM_COMMIT")));
        print(&format!("cores       {cores}, {} threads\n", rayon::current_num_threads()));
        print(&format!("kernels     {} in use (DDPM_ISA sets an upper limit)\n", Isa::active().name()));
        print(&format!("            here: {}; not here: {}\n", sets(true), sets(false)));
        if gemm::isa() != Isa::active() {
            print(&format!("            its matrix unit gives wrong products: {} is used for products\n", gemm::isa().name()));
        }
        let convolutions = match [Arithmetic::F32, Arithmetic::Bf16].map(Arithmetic::algorithm) {
            [Algorithm::Winograd, Algorithm::Winograd] => "winograd where it is faster (DDPM_CONV=direct: nowhere)",
            [Algorithm::Winograd, Algorithm::Direct] => "winograd where it is faster, direct on the matrix unit",
            [Algorithm::Direct, _] => "direct, as DDPM_CONV asks",
        };
        print(&format!("            convolutions: {convolutions}\n"));
        for problem in [Isa::limit().err(), Algorithm::asked().err()].into_iter().flatten() {
            print(&format!("            {problem}; other commands do not run\n"));
        }
        let f32s = match gemm::isa() {
            Isa::AmxBf16 => format!("three products of bf16 parts from {SPLIT_CHANNELS} channels on"),
            _ => "plain f32".into(),
        };
        let bf16 = match gemm::isa() {
            Isa::Avx512Bf16 | Isa::AmxBf16 => "bf16",
            Isa::Portable | Isa::Avx2 | Isa::Avx512 => "bf16 (without instructions for it: slower)",
        };
        print(&format!("precision   f32 as {f32s}, {bf16}; feature maps and sums in f32\n"));
        print(&format!("devices     {}\n", device::found()));
        print(&format!("report      {}\n", if cfg!(feature = "report") { "built in" } else { "left out of this build" }));
        let data = DataSource::FashionMnist {}.load(&Cache::default())?;
        print(&format!("data        fashion-mnist embedded and whole, {} images\n", data.info.train + data.info.held_out));
        for (name, description) in features::descriptions()? {
            print(&format!("features    {name}\n            {description}\n"));
        }
        let path = std::path::Path::new(features::INCEPTION_PATH);
        let inception = match path.exists() {
            true => format!("inception at {}", path.display()),
            false => format!("no inception: {} is not there (`ddpm data inception`)", path.display()),
        };
        print(&format!("            {inception}\n"));
        Ok(Exit::Ok)
    }
}
