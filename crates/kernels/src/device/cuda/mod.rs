//! Programs on an NVIDIA GPU: this crate's kernels by the driver, products by cuBLAS, convolutions by cuDNN.
//!
//! A program runs eagerly the first time, so that every library has what it needs, and is captured as a CUDA graph the second time; from
//! then on one call launches all of it, without allocations or synchronisation in between. If a program cannot be captured it keeps running
//! eagerly. The environment variable `DDPM_CUDA` overrides this, see [`RunMode`].

mod convolution;
mod copies;
mod offered;
mod words;

use super::fault::reworded;
use super::launch::{Argument, Launch};
use super::{ConvOp, Device, MatrixSpan, Op, Product, Span, Type, check};
use candle_core::cuda_backend::CudaDevice;
use candle_core::cuda_backend::cudarc;
use candle_core::{Error, Result, bail};
use convolution::Convolutions;
use copies::Copies;
use cudarc::cublas::result::gemm_strided_batched_ex;
use cudarc::cublas::sys as blas;
use cudarc::driver::sys::{CUevent_flags, CUgraphInstantiate_flags, CUstreamCaptureMode};
use cudarc::driver::{CudaEvent, CudaFunction, CudaGraph, CudaSlice, CudaStream, DevicePtr, LaunchConfig, PushKernelArg};
use std::collections::{HashMap, HashSet};
use std::ffi::c_void;
use std::sync::Arc;
use words::{plainly, wrong};

/// This crate's kernels, compiled by its build script.
const PTX: &str = include_str!(concat!(env!("OUT_DIR"), "/kernels.ptx"));

/// Room that cuBLAS is given, so that it allocates nothing itself: what NVIDIA recommends for its larger GPUs.
const BLAS_ROOM: usize = 32 << 20;

/// One GPU.
pub struct Cuda {
    device: CudaDevice,
    stream: Arc<CudaStream>,
    functions: HashMap<String, CudaFunction>,
    convolutions: Convolutions,
    /// Dropped before the arena that they go to.
    copies: Copies,
    gpu: String,
    manner: RunMode,
    arena: Option<CudaSlice<u8>>,
    /// Never read here: cuBLAS works in it.
    _blas_room: CudaSlice<u8>,
    programs: Vec<Program>,
}

struct Program {
    ops: Vec<Op>,
    /// Whether it has run as it is.
    warm: bool,
    graph: Option<CudaGraph>,
}

/// How programs are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunMode {
    /// `graphs`, and where nothing is said: recorded, and started by one call.
    Graphs,
    /// `eager`: operation by operation.
    Eager,
    /// `checked`: operation by operation, each awaited, so that an error names the one that made it. Slow.
    Checked,
}

impl RunMode {
    /// What `DDPM_CUDA` says.
    fn asked() -> Result<RunMode> {
        match std::env::var("DDPM_CUDA").as_deref() {
            Err(_) | Ok("" | "graphs") => Ok(RunMode::Graphs),
            Ok("eager") => Ok(RunMode::Eager),
            Ok("checked") => Ok(RunMode::Checked),
            Ok(other) => bail!("DDPM_CUDA: expected graphs, eager or checked, got {other}"),
        }
    }
}

/// GPUs that can be seen; an error's first line where none can.
pub fn count() -> std::result::Result<usize, String> {
    match cudarc::driver::CudaContext::device_count() {
        Ok(n) => Ok(n as usize),
        Err(e) => Err(plainly(e)),
    }
}

/// The name of GPU number `ordinal`.
pub fn name(ordinal: usize) -> Result<String> {
    let wrong = wrong("the GPU's name");
    cudarc::driver::CudaContext::new(ordinal).and_then(|context| context.name()).map_err(wrong)
}

/// Waits until the GPU is done. An error may stem from any earlier operation.
fn awaited(stream: &CudaStream) -> Result<()> {
    let plain = wrong("the GPU");
    stream.synchronize().map_err(|e| reworded(plain(e), |words| format!("{words}; DDPM_CUDA=checked names the operation")))
}

impl Cuda {
    /// GPU number `ordinal`.
    pub fn new(ordinal: usize) -> Result<Cuda> {
        let manner = RunMode::asked()?;
        let device = CudaDevice::new_with_stream(ordinal).map_err(wrong(&format!("cuda:{ordinal}")))?;
        // Safety: everything here is done on the one stream, in its order, but copies beside it, which it awaits.
        unsafe { device.disable_event_tracking() };
        let stream = device.cuda_stream();
        let room = stream.alloc_zeros::<u8>(BLAS_ROOM).map_err(wrong("memory for cuBLAS"))?;
        let handle = *device.cublas_handle().handle();
        let (pointer, _guard) = room.device_ptr(&stream);
        // Safety: the room lives as long as the device that owns the handle, see the order of the fields.
        let status = unsafe { blas::cublasSetWorkspace_v2(handle, pointer as *mut c_void, BLAS_ROOM) };
        status.result().map_err(wrong("cuBLAS"))?;
        drop(_guard);
        let gpu = stream.context().name().map_err(wrong("the GPU's name"))?;
        let (convolutions, copies) = (Convolutions::new(&stream)?, Copies::new(&stream)?);
        let functions = HashMap::new();
        Ok(Cuda { device, stream, functions, convolutions, copies, gpu, manner, arena: None, _blas_room: room, programs: Vec::new() })
    }

    /// Where the arena begins.
    fn base(&self) -> u64 {
        let arena = self.arena.as_ref().expect("programs are loaded after an arena was made");
        arena.device_ptr(&self.stream).0
    }

    fn op(&mut self, op: &Op) -> Result<()> {
        let base = self.base();
        let done = match op {
            Op::Launch(launch) => self.launch(launch, base),
            Op::Product(product) => self.product(product, base),
            Op::Convolution(convolution) => self.convolutions.run(convolution, base),
        };
        if self.manner != RunMode::Checked {
            return done;
        }
        let named = |e: Error| reworded(e, |words| format!("{} of {}: {words}", op.name(), op.size()));
        done.and_then(|()| self.stream.synchronize().map_err(wrong("the GPU"))).map_err(named)
    }

    fn launch(&mut self, launch: &Launch, base: u64) -> Result<()> {
        let function = &self.functions[launch.name()];
        // Every argument's value by its size; the builder borrows them.
        enum Value {
            Word(u32),
            Long(u64),
            Float(f32),
            Double(f64),
        }
        let value = |argument: &Argument| match *argument {
            Argument::MemoryArg(place) => Value::Long(base + place.span.at as u64),
            Argument::Nothing => Value::Long(0),
            Argument::U32(v) => Value::Word(v),
            Argument::U64(v) => Value::Long(v),
            Argument::F32(v) => Value::Float(v),
            Argument::F64(v) => Value::Double(v),
        };
        let values: Vec<Value> = launch.arguments.iter().map(value).collect();
        let mut builder = self.stream.launch_builder(function);
        for value in &values {
            match value {
                Value::Word(v) => builder.arg(v),
                Value::Long(v) => builder.arg(v),
                Value::Float(v) => builder.arg(v),
                Value::Double(v) => builder.arg(v),
            };
        }
        let config = LaunchConfig {
            grid_dim: (launch.grid.0, launch.grid.1, 1),
            block_dim: (launch.threads, 1, 1),
            shared_mem_bytes: launch.shared,
        };
        // Safety: a launch is made by this crate, with places as long as its kernel reaches, and [`check`] saw that they are in the arena;
        // the emulation runs the same launches and compares the number of arguments with the kernel's.
        unsafe { builder.launch(config) }.map_err(wrong(launch.name()))?;
        Ok(())
    }

    fn product(&mut self, p: &Product, base: u64) -> Result<()> {
        let pointer = |m: &MatrixSpan| (base + m.at.at as u64) as *mut c_void;
        let kind = |m: &MatrixSpan| match m.kind {
            Type::F32 => blas::cudaDataType_t::CUDA_R_32F,
            Type::Bf16 => blas::cudaDataType_t::CUDA_R_16BF,
        };
        let operation =
            |m: &MatrixSpan| if m.transposed { blas::cublasOperation_t::CUBLAS_OP_T } else { blas::cublasOperation_t::CUBLAS_OP_N };
        let compute = match (p.a.kind, p.tf32) {
            (Type::F32, true) => blas::cublasComputeType_t::CUBLAS_COMPUTE_32F_FAST_TF32,
            _ => blas::cublasComputeType_t::CUBLAS_COMPUTE_32F,
        };
        let (alpha, beta) = (p.alpha, if p.add { 1f32 } else { 0.0 });
        let handle = *self.device.cublas_handle().handle();
        // Row-major c = a b is column-major c^T = b^T a^T: the same numbers with the factors exchanged.
        // Safety: [`check`] saw that each factor's reach is in its place and each place in the arena; the handle is this device's.
        unsafe {
            gemm_strided_batched_ex(
                handle,
                operation(&p.b),
                operation(&p.a),
                p.n as i32,
                p.m as i32,
                p.k as i32,
                (&raw const alpha).cast(),
                pointer(&p.b),
                kind(&p.b),
                p.b.stride as i32,
                p.b.each as i64,
                pointer(&p.a),
                kind(&p.a),
                p.a.stride as i32,
                p.a.each as i64,
                (&raw const beta).cast(),
                pointer(&p.c),
                kind(&p.c),
                p.c.stride as i32,
                p.c.each as i64,
                p.batch as i32,
                compute,
                blas::cublasGemmAlgo_t::CUBLAS_GEMM_DEFAULT,
            )
        }
        .map_err(wrong("cuBLAS"))
    }

    fn all(&mut self, ops: &[Op]) -> Result<()> {
        ops.iter().try_for_each(|op| self.op(op))
    }

    /// The operations as a graph.
    fn record(&mut self, ops: &[Op]) -> Result<CudaGraph> {
        self.stream.begin_capture(CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL).map_err(wrong("recording"))?;
        let done = self.all(ops);
        // Ended whatever happened, so that the stream can be used again.
        let graph = self.stream.end_capture(CUgraphInstantiate_flags(0)).map_err(wrong("recording"));
        done?;
        match graph? {
            Some(graph) => Ok(graph),
            None => bail!("recording a program gave no graph"),
        }
    }
}

/// What a call of the driver or cuBLAS writes a version to.
fn version(ask: impl FnOnce(&mut i32) -> bool) -> i32 {
    let mut number = 0;
    if ask(&mut number) { number } else { 0 }
}

impl Drop for Cuda {
    fn drop(&mut self) {
        // After a fault nothing can be freed, and cudarc's handles of cuBLAS and cuRAND panic if they try: one extra reference to each is
        // leaked, so that the original error gets through.
        if self.stream.synchronize().is_err() {
            std::mem::forget(self.device.clone());
        }
    }
}

impl Device for Cuda {
    fn name(&self) -> String {
        self.gpu.clone()
    }

    fn bytes(&self) -> usize {
        self.arena.as_ref().map_or(0, CudaSlice::len) + BLAS_ROOM + self.convolutions.room()
    }

    fn reserve(&mut self, bytes: usize) -> Result<()> {
        awaited(&self.stream)?;
        self.programs.clear();
        self.arena = None;
        self.arena = Some(self.stream.alloc_zeros::<u8>(bytes).map_err(wrong(&format!("{} MiB on the GPU", bytes >> 20)))?);
        // Copies beside this stream must find it cleared.
        awaited(&self.stream)
    }

    fn upload(&mut self, to: Span, bytes: &[u8]) -> Result<()> {
        assert!(bytes.len() <= to.bytes, "{} bytes to a place of {}", bytes.len(), to.bytes);
        let arena = self.arena.as_mut().expect("an arena was made");
        let mut place = arena.slice_mut(to.at..to.at + bytes.len());
        self.stream.memcpy_htod(bytes, &mut place).map_err(wrong("to the GPU"))
    }

    fn upload_beside(&mut self, to: Span, bytes: &[u8]) -> Result<()> {
        let arena = self.arena.as_ref().map_or(0, CudaSlice::len);
        assert!(bytes.len() <= to.bytes && to.at + to.bytes <= arena, "{} bytes to a place of {}", bytes.len(), to.bytes);
        let at = self.base() + to.at as u64;
        // Safety: the place is in the arena, which is freed after the stream was awaited; the caller says that nothing else uses it now.
        unsafe { self.copies.begin(&self.stream, at, bytes) }
    }

    fn free(&self) -> Option<usize> {
        self.stream.context().mem_get_info().ok().map(|(free, _)| free)
    }

    fn download(&mut self, from: Span, bytes: &mut [u8]) -> Result<()> {
        assert!(bytes.len() <= from.bytes, "{} bytes from a place of {}", bytes.len(), from.bytes);
        // Synchronised first: otherwise the copy would report an earlier operation's error as its own.
        awaited(&self.stream)?;
        let arena = self.arena.as_ref().expect("an arena was made");
        self.stream.memcpy_dtoh(&arena.slice(from.at..from.at + bytes.len()), bytes).map_err(wrong("from the GPU"))?;
        awaited(&self.stream)
    }

    fn load(&mut self, program: Vec<Op>) -> Result<usize> {
        check(&program, self.arena.as_ref().map_or(0, CudaSlice::len));
        let base = self.base();
        let convolution = |op: &Op| if let Op::Convolution(c) = op { Some(*c) } else { None };
        let convolutions: Vec<ConvOp> = program.iter().filter_map(convolution).collect();
        let chosen = self.convolutions.choose(&convolutions, base);
        if self.convolutions.has_moved() {
            self.programs.iter_mut().for_each(|program| program.graph = None);
        }
        chosen?;
        for op in &program {
            if let Op::Launch(launch) = op
                && !self.functions.contains_key(launch.name())
            {
                let function = self.device.get_or_load_custom_func(launch.name(), "ddpm", PTX)?.into_cuda_function();
                self.functions.insert(launch.name().to_string(), function);
            }
        }
        self.programs.push(Program { ops: program, warm: false, graph: None });
        Ok(self.programs.len() - 1)
    }

    fn program(&self, program: usize) -> &[Op] {
        &self.programs[program].ops
    }

    fn run(&mut self, program: usize) -> Result<()> {
        if let Some(graph) = &self.programs[program].graph {
            return graph.launch().map_err(wrong("a recorded program"));
        }
        let ops = std::mem::take(&mut self.programs[program].ops);
        let done = self.run_or_record(program, &ops);
        self.programs[program].ops = ops;
        done
    }

    fn time(&mut self, program: usize) -> Result<Vec<f64>> {
        let ops = std::mem::take(&mut self.programs[program].ops);
        let event = |stream: &CudaStream| stream.record_event(Some(CUevent_flags::CU_EVENT_DEFAULT)).map_err(wrong("an event"));
        let run = |this: &mut Cuda| -> Result<Vec<f64>> {
            // Keeps the GPU busy, so that the host stays ahead: the events time the GPU's work and not the host's launches.
            this.all(&ops)?;
            let mut events = vec![event(&this.stream)?];
            for op in &ops {
                this.op(op)?;
                events.push(event(&this.stream)?);
            }
            awaited(&this.stream)?;
            let between = |pair: &[CudaEvent]| pair[0].elapsed_ms(&pair[1]).map(|ms| ms as f64 * 1e-3).map_err(wrong("an event"));
            events.windows(2).map(between).collect()
        };
        let times = run(self);
        self.programs[program].ops = ops;
        times
    }

    fn about(&mut self) -> Result<Vec<(&'static str, String)>> {
        // Safety: each writes one number, and the handle is this device's.
        let driver = version(|n| unsafe { cudarc::driver::sys::cuDriverGetVersion(n) }.result().is_ok());
        let handle = *self.device.cublas_handle().handle();
        let cublas = version(|n| unsafe { blas::cublasGetVersion_v2(handle, n) }.result().is_ok());
        let (free, total) = self.stream.context().mem_get_info().map_err(wrong("the GPU's memory"))?;
        Ok(vec![
            ("gpu", self.gpu.clone()),
            ("driver", format!("CUDA {}.{}", driver / 1000, driver / 10 % 100)),
            ("cuBLAS", format!("{}.{}.{}", cublas / 10_000, cublas / 100 % 100, cublas % 100)),
            ("cuDNN", convolution::version()),
            ("memory", format!("{} MiB free of {}", free >> 20, total >> 20)),
        ])
    }

    fn algorithms(&mut self, program: usize) -> Result<Vec<String>> {
        let (base, ops) = (self.base(), self.programs[program].ops.clone());
        let (mut lines, mut seen) = (Vec::new(), HashSet::new());
        for op in &ops {
            if let Op::Convolution(c) = op
                && seen.insert((c.pass, c.sizes, c.kind, c.tf32))
            {
                lines.push(format!("{} of {}", op.name(), op.size()));
                lines.extend(self.convolutions.timed(c, base)?);
            }
        }
        Ok(lines)
    }
}

impl Cuda {
    /// The first time and where nothing is recorded: operation by operation. Then as a graph, which is made now.
    fn run_or_record(&mut self, program: usize, ops: &[Op]) -> Result<()> {
        if self.manner != RunMode::Graphs || !self.programs[program].warm {
            self.programs[program].warm = true;
            return self.all(ops);
        }
        match self.record(ops) {
            Ok(graph) => {
                graph.launch().map_err(wrong("a recorded program"))?;
                self.programs[program].graph = Some(graph);
                Ok(())
            }
            // Nothing of it has run.
            Err(why) => {
                eprintln!("{why}; programs go on operation by operation");
                self.manner = RunMode::Eager;
                self.all(ops)
            }
        }
    }
}
