//! Convolutions by cuDNN, channels last. Each uses the first algorithm in the order of cuDNN's heuristics that is deterministic and runs
//! with the requested math type. Nothing is timed: with timings, the choice and thus the results would vary from run to run.

use super::offered::{Offered, math};
use super::wrong;
use crate::device::{ConvOp, Op, Pass, Sizes, Span, Type};
use candle_core::cuda_backend::cudarc;
use candle_core::{Error, Result};
use cudarc::cudnn::{result, sys};
use cudarc::driver::{CudaSlice, CudaStream, DevicePtr};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ffi::c_void;
use std::sync::Arc;

/// Room that an algorithm may ask for.
const ROOM: usize = 256 << 20;

/// Algorithms of a pass that are asked about.
const ASKED: usize = 10;

/// What an algorithm was chosen for: the pass, the sizes, the type, whether TF32 may be used, and whether the result is added.
type Key = (Pass, Sizes, Type, bool, bool);

fn key(c: &ConvOp) -> Key {
    (c.pass, c.sizes, c.kind, c.tf32, c.add)
}

/// An algorithm by its number, and the room that it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Chosen {
    algorithm: u32,
    room: usize,
}

/// cuDNN on one stream.
pub struct Convolutions {
    stream: Arc<CudaStream>,
    handle: sys::cudnnHandle_t,
    descriptors: HashMap<(Sizes, Type, bool), Descriptors>,
    chosen: HashMap<Key, Chosen>,
    room: Option<CudaSlice<u8>>,
    /// Whether the room has moved since it was asked.
    moved: bool,
}

/// What cuDNN calls the parts of a convolution.
struct Descriptors {
    x: sys::cudnnTensorDescriptor_t,
    w: sys::cudnnFilterDescriptor_t,
    y: sys::cudnnTensorDescriptor_t,
    conv: sys::cudnnConvolutionDescriptor_t,
}

fn kind(kind: Type) -> sys::cudnnDataType_t {
    match kind {
        Type::F32 => sys::cudnnDataType_t::CUDNN_DATA_FLOAT,
        Type::Bf16 => sys::cudnnDataType_t::CUDNN_DATA_BFLOAT16,
    }
}

impl Descriptors {
    fn new(s: Sizes, t: Type, tf32: bool) -> std::result::Result<Descriptors, result::CudnnError> {
        let nhwc = sys::cudnnTensorFormat_t::CUDNN_TENSOR_NHWC;
        let (h, w) = s.output();
        let int = |v: [usize; 4]| v.map(|n| n as i32);
        let d = Descriptors {
            x: result::create_tensor_descriptor()?,
            w: result::create_filter_descriptor()?,
            y: result::create_tensor_descriptor()?,
            conv: result::create_convolution_descriptor()?,
        };
        // Safety: descriptors that were just made.
        unsafe {
            result::set_tensor4d_descriptor(d.x, nhwc, kind(t), int([s.batch, s.c_in, s.h, s.w]))?;
            result::set_filter4d_descriptor(d.w, kind(t), nhwc, int([s.c_out, s.c_in, s.k, s.k]))?;
            result::set_tensor4d_descriptor(d.y, nhwc, kind(t), int([s.batch, s.c_out, h, w]))?;
            let (pad, stride) = (s.pad as i32, s.stride as i32);
            let (mode, float) = (sys::cudnnConvolutionMode_t::CUDNN_CROSS_CORRELATION, sys::cudnnDataType_t::CUDNN_DATA_FLOAT);
            result::set_convolution2d_descriptor(d.conv, pad, pad, stride, stride, 1, 1, mode, float)?;
            result::set_convolution_math_type(d.conv, math(t, tf32))?;
        }
        Ok(d)
    }
}

impl Drop for Descriptors {
    fn drop(&mut self) {
        // Safety: each was made with its like and is destroyed once; there is nothing to do about a failure.
        unsafe {
            let _ = result::destroy_tensor_descriptor(self.x);
            let _ = result::destroy_filter_descriptor(self.w);
            let _ = result::destroy_tensor_descriptor(self.y);
            let _ = result::destroy_convolution_descriptor(self.conv);
        }
    }
}

impl Drop for Convolutions {
    fn drop(&mut self) {
        self.descriptors.clear();
        // Safety: made by `new`, destroyed once.
        let _ = unsafe { result::destroy_handle(self.handle) };
    }
}

fn pointer(base: u64, span: Span) -> *mut c_void {
    (base + span.at as u64) as *mut c_void
}

/// Calls one of cuDNN's two algorithm queries: `$ask(handle, argument..., capacity, &mut count, results, more...)`.
macro_rules! offered {
    ($ask:path, $perf:ident, $handle:expr, [$($argument:expr),*], [$($more:expr),*]) => {{
        // Safety: plain numbers, for which all bits 0 are values.
        let mut found: [sys::$perf; ASKED] = unsafe { std::mem::zeroed() };
        let mut count = 0;
        // Safety: descriptors and handle are alive; spans, if any, are in the arena (see `check`), and the workspace is as long as stated.
        let status = unsafe { $ask($handle, $($argument,)* ASKED as i32, &mut count, found.as_mut_ptr() $(, $more)*) };
        status.result().map_err(wrong("cuDNN"))?;
        let one = |p: &sys::$perf| Offered {
            algorithm: p.algo as u32,
            math: p.mathType,
            room: p.memory,
            status: p.status,
            determinism: p.determinism,
            ms: p.time,
        };
        found[..(count.max(0) as usize).min(ASKED)].iter().map(one).collect::<Vec<Offered>>()
    }};
}

impl Convolutions {
    /// On a stream.
    pub fn new(stream: &Arc<CudaStream>) -> Result<Convolutions> {
        let handle = result::create_handle().map_err(wrong("cuDNN"))?;
        let none =
            Convolutions { stream: stream.clone(), handle, descriptors: HashMap::new(), chosen: HashMap::new(), room: None, moved: false };
        // Safety: the handle was just made, and the stream lives as long as this.
        unsafe { result::set_stream(handle, stream.cu_stream() as *mut _) }.map_err(wrong("cuDNN"))?;
        Ok(none)
    }

    /// Bytes that the chosen algorithms work in.
    pub fn room(&self) -> usize {
        self.room.as_ref().map_or(0, CudaSlice::len)
    }

    /// Whether the workspace was reallocated since the last call: graphs captured before still use the old one.
    pub fn has_moved(&mut self) -> bool {
        std::mem::take(&mut self.moved)
    }

    /// Chooses an algorithm for each convolution that has none yet, by running it once: what it writes is overwritten.
    pub fn choose(&mut self, all: &[ConvOp], base: u64) -> Result<()> {
        for c in all {
            if self.chosen.contains_key(&key(c)) {
                continue;
            }
            let offered = self.expected(c)?;
            let mut told: Vec<String> = offered.iter().map(Offered::description).collect();
            let mut works = None;
            for (one, told) in offered.iter().zip(&mut told).filter(|(one, _)| one.is_sure()) {
                match self.try_out(c, one.algorithm, base) {
                    Ok(chosen) => {
                        works = Some(chosen);
                        break;
                    }
                    Err(why) => *told += &format!(", but does not run: {why}"),
                }
            }
            let Some(chosen) = works else {
                let told = told.join("; ");
                let asked = format!("cuDNN has no algorithm that gives the same bits every time in {:?}", math(c.kind, c.tf32));
                let (name, size) = (Op::Convolution(*c).name(), Op::Convolution(*c).size());
                return Err(Error::Msg(format!("{asked} for {name} of {size}; it offers: {told}")));
            };
            self.chosen.insert(key(c), chosen);
        }
        Ok(())
    }

    /// Runs an algorithm once.
    fn try_out(&mut self, c: &ConvOp, algorithm: u32, base: u64) -> Result<Chosen> {
        let chosen = Chosen { algorithm, room: self.needed(c, algorithm)? };
        if chosen.room > ROOM {
            return Err(Error::Msg(format!("it wants {} MiB of memory, at most {} are given", chosen.room >> 20, ROOM >> 20)));
        }
        self.make_room(chosen.room)?;
        self.compute(c, chosen, base)?;
        Ok(chosen)
    }

    /// The room that an algorithm needs in the mathematics that it is run with.
    fn needed(&mut self, c: &ConvOp, algorithm: u32) -> Result<usize> {
        let handle = self.handle;
        let (d, mut bytes) = (self.descriptors(c)?, 0);
        // Safety: descriptors and handle are alive; the algorithm's number came from cuDNN itself.
        let status = unsafe {
            match c.pass {
                Pass::Forward => {
                    let algorithm = std::mem::transmute::<u32, sys::cudnnConvolutionFwdAlgo_t>(algorithm);
                    sys::cudnnGetConvolutionForwardWorkspaceSize(handle, d.x, d.w, d.conv, d.y, algorithm, &mut bytes)
                }
                Pass::InputGradient => {
                    let algorithm = std::mem::transmute::<u32, sys::cudnnConvolutionBwdDataAlgo_t>(algorithm);
                    sys::cudnnGetConvolutionBackwardDataWorkspaceSize(handle, d.w, d.y, d.conv, d.x, algorithm, &mut bytes)
                }
                Pass::WeightGradient => {
                    let algorithm = std::mem::transmute::<u32, sys::cudnnConvolutionBwdFilterAlgo_t>(algorithm);
                    sys::cudnnGetConvolutionBackwardFilterWorkspaceSize(handle, d.x, d.y, d.conv, d.w, algorithm, &mut bytes)
                }
            }
        };
        status.result().map_err(wrong("cuDNN"))?;
        Ok(bytes)
    }

    fn make_room(&mut self, bytes: usize) -> Result<()> {
        if bytes <= self.room() {
            return Ok(());
        }
        // Pending work in the old workspace must finish first.
        self.stream.synchronize().map_err(wrong("the GPU"))?;
        (self.room, self.moved) = (None, true);
        self.room = Some(self.stream.alloc_zeros::<u8>(bytes).map_err(wrong("memory for cuDNN"))?);
        Ok(())
    }

    fn descriptors(&mut self, c: &ConvOp) -> Result<&Descriptors> {
        match self.descriptors.entry((c.sizes, c.kind, c.tf32)) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(place) => Ok(place.insert(Descriptors::new(c.sizes, c.kind, c.tf32).map_err(wrong("cuDNN"))?)),
        }
    }

    /// The algorithms in the order in which cuDNN expects them to be fast.
    fn expected(&mut self, c: &ConvOp) -> Result<Vec<Offered>> {
        let handle = self.handle;
        let d = self.descriptors(c)?;
        let mut all = match c.pass {
            Pass::Forward => {
                offered!(sys::cudnnGetConvolutionForwardAlgorithm_v7, cudnnConvolutionFwdAlgoPerf_t, handle, [d.x, d.w, d.conv, d.y], [])
            }
            Pass::InputGradient => offered!(
                sys::cudnnGetConvolutionBackwardDataAlgorithm_v7,
                cudnnConvolutionBwdDataAlgoPerf_t,
                handle,
                [d.w, d.y, d.conv, d.x],
                []
            ),
            Pass::WeightGradient => offered!(
                sys::cudnnGetConvolutionBackwardFilterAlgorithm_v7,
                cudnnConvolutionBwdFilterAlgoPerf_t,
                handle,
                [d.x, d.y, d.conv, d.w],
                []
            ),
        };
        // Times that were not measured.
        all.iter_mut().for_each(|offered| offered.ms = 0.0);
        Ok(all)
    }

    /// All algorithms for a convolution with their times, in words; the chosen one is marked. Overwrites what they write.
    pub fn timed(&mut self, c: &ConvOp, base: u64) -> Result<Vec<String>> {
        let space = self.stream.alloc_zeros::<u8>(ROOM).map_err(wrong("memory for cuDNN"))?;
        let room = space.device_ptr(&self.stream).0 as *mut c_void;
        let (handle, [x, w, y]) = (self.handle, [c.x, c.w, c.y].map(|span| pointer(base, span)));
        let d = self.descriptors(c)?;
        let all = match c.pass {
            Pass::Forward => offered!(
                sys::cudnnFindConvolutionForwardAlgorithmEx,
                cudnnConvolutionFwdAlgoPerf_t,
                handle,
                [d.x, x, d.w, w, d.conv, d.y, y],
                [room, ROOM]
            ),
            Pass::InputGradient => offered!(
                sys::cudnnFindConvolutionBackwardDataAlgorithmEx,
                cudnnConvolutionBwdDataAlgoPerf_t,
                handle,
                [d.w, w, d.y, y, d.conv, d.x, x],
                [room, ROOM]
            ),
            Pass::WeightGradient => offered!(
                sys::cudnnFindConvolutionBackwardFilterAlgorithmEx,
                cudnnConvolutionBwdFilterAlgoPerf_t,
                handle,
                [d.x, x, d.y, y, d.conv, d.w, w],
                [room, ROOM]
            ),
        };
        let chosen = self.chosen.get(&key(c));
        let asked = math(c.kind, c.tf32);
        let mark = |one: &Offered| chosen.is_some_and(|chosen| (chosen.algorithm, asked) == (one.algorithm, one.math));
        Ok(all.iter().map(|one| format!("{} {}", if mark(one) { "*" } else { " " }, one.description())).collect())
    }

    /// One convolution with the algorithm that was chosen for it.
    pub fn run(&mut self, c: &ConvOp, base: u64) -> Result<()> {
        let chosen = self.chosen[&key(c)];
        self.compute(c, chosen, base)
    }

    fn compute(&mut self, c: &ConvOp, chosen: Chosen, base: u64) -> Result<()> {
        let handle = self.handle;
        let room = self.room.as_ref().map_or(std::ptr::null_mut(), |room| room.device_ptr(&self.stream).0 as *mut c_void);
        let d = self.descriptors(c)?;
        let [x, w, y] = [c.x, c.w, c.y].map(|span| pointer(base, span));
        let (one, beta) = (1f32, if c.add { 1f32 } else { 0.0 });
        let (one, beta): (*const c_void, *const c_void) = ((&raw const one).cast(), (&raw const beta).cast());
        // Safety: descriptors and handle are alive; [`crate::device::check`] saw that the places are as long as the sizes say and in the
        // arena; the room is as long as the algorithm asked for. The algorithm's number came from cuDNN itself.
        unsafe {
            match c.pass {
                Pass::Forward => {
                    let algorithm = std::mem::transmute::<u32, sys::cudnnConvolutionFwdAlgo_t>(chosen.algorithm);
                    result::convolution_forward(handle, one, d.x, x, d.w, w, d.conv, algorithm, room, chosen.room, beta, d.y, y)
                }
                Pass::InputGradient => {
                    let algorithm = std::mem::transmute::<u32, sys::cudnnConvolutionBwdDataAlgo_t>(chosen.algorithm);
                    result::convolution_backward_data(handle, one, d.w, w, d.y, y, d.conv, algorithm, room, chosen.room, beta, d.x, x)
                }
                Pass::WeightGradient => {
                    let algorithm = std::mem::transmute::<u32, sys::cudnnConvolutionBwdFilterAlgo_t>(chosen.algorithm);
                    result::convolution_backward_filter(handle, one, d.x, x, d.y, y, d.conv, algorithm, room, chosen.room, beta, d.w, w)
                }
            }
        }
        .map_err(wrong("cuDNN"))
    }
}

/// cuDNN's version.
pub fn version() -> String {
    let v = result::get_version();
    format!("{}.{}.{}", v / 10_000, v / 100 % 100, v % 100)
}
