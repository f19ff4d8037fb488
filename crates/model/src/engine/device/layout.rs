//! The layout of the parameters on a device: concatenated as on the host, each aligned to 16 bytes, and the weights of 3x3 convolutions
//! as `[Co, k, k, Ci]`, the order in which the library reads them, those of transposed ones as `[Ci, k, k, Co]`: a transposed
//! convolution is computed as the input gradient of an ordinary one from Co to Ci channels, whose weights these are. Where images enter and leave the network, channels are padded to whole
//! packs: the weights of padding channels are 0, get a gradient of 0, and so stay 0.

use crate::parameters::Parameter;
use ddpm_kernels::device::maps::PACK;

/// The places of all parameters.
#[derive(Clone, Debug)]
pub struct Layout {
    places: Vec<Place>,
    /// Numbers with those that fill gaps, which are 0.
    pub len: usize,
}

#[derive(Clone, Debug)]
struct Place {
    at: usize,
    /// Numbers on the host.
    len: usize,
    /// Numbers here.
    room: usize,
    /// Where the axes are in another order.
    window: Option<Window>,
}

/// Weights of a k x k convolution.
#[derive(Clone, Copy, Debug)]
struct Window {
    taps: usize,
    c_in: usize,
    c_out: usize,
    /// Whether it is a transposed convolution.
    transposed: bool,
}

impl Layout {
    /// Of a network's parameters.
    pub fn new(parameters: &[Parameter]) -> Layout {
        let (mut places, mut at) = (Vec::new(), 0);
        for parameter in parameters {
            // All 4x4 convolutions of a network are transposed ones, and no other is.
            let window = match parameter.shape[..] {
                [k, l, c_in, c_out] if k * l > 1 => Some(Window { taps: k * l, c_in, c_out, transposed: k == 4 }),
                _ => None,
            };
            let room = match (window, &parameter.shape[..]) {
                (Some(Window { taps, c_in, c_out, .. }), _) => taps * filled(c_in) * filled(c_out),
                (None, [n]) => filled(*n),
                (None, _) => parameter.len(),
            };
            places.push(Place { at, len: parameter.len(), room, window });
            at = (at + room).next_multiple_of(PACK);
        }
        Layout { places, len: at }
    }

    /// The first number of a parameter, and how many it has here.
    pub fn of(&self, parameter: usize) -> (usize, usize) {
        (self.places[parameter].at, self.places[parameter].room)
    }

    /// Numbers on the host, without gaps.
    pub fn host_len(&self) -> usize {
        self.places.iter().map(|place| place.len).sum()
    }

    /// The device's numbers from the host's.
    pub fn to_device(&self, host: &[f32]) -> Vec<f32> {
        let (mut device, mut rest) = (vec![0f32; self.len], host);
        for place in &self.places {
            let (now, later) = rest.split_at(place.len);
            let to = &mut device[place.at..place.at + place.room];
            match place.window {
                None => to[..place.len].copy_from_slice(now),
                Some(window) => window.for_each(|here, there| to[here] = now[there]),
            }
            rest = later;
        }
        device
    }

    /// The host's numbers from the device's.
    pub fn to_host(&self, device: &[f32], host: &mut [f32]) {
        let mut rest = host;
        for place in &self.places {
            let (now, later) = rest.split_at_mut(place.len);
            let from = &device[place.at..place.at + place.room];
            match place.window {
                None => now.copy_from_slice(&from[..place.len]),
                Some(window) => window.for_each(|here, there| now[there] = from[here]),
            }
            rest = later;
        }
    }
}

/// Channels as a device has them.
pub fn filled(channels: usize) -> usize {
    channels.next_multiple_of(PACK)
}

impl Window {
    /// Calls `f` with the index of every weight on the device, padded `[Co, taps, Ci]` or `[Ci, taps, Co]`, and on the host,
    /// `[taps, Ci, Co]`.
    fn for_each(self, mut f: impl FnMut(usize, usize)) {
        let Window { taps, c_in, c_out, transposed } = self;
        for o in 0..c_out {
            for tap in 0..taps {
                for i in 0..c_in {
                    let here = if transposed { (i * taps + tap) * filled(c_out) + o } else { (o * taps + tap) * filled(c_in) + i };
                    f(here, (tap * c_in + i) * c_out + o);
                }
            }
        }
    }
}

/// Pixels of `from` channels each as pixels of `to` channels: cut off, or filled up with 0.
pub fn with_channels(numbers: &[f32], from: usize, to: usize) -> Vec<f32> {
    let mut pixels = vec![0.0; numbers.len() / from * to];
    let both = from.min(to);
    for (wide, pixel) in pixels.chunks_exact_mut(to).zip(numbers.chunks_exact(from)) {
        wide[..both].copy_from_slice(&pixel[..both]);
    }
    pixels
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parameters::Init;
    use proptest::prelude::*;

    fn shape() -> impl Strategy<Value = Vec<usize>> {
        let channels = || prop_oneof![1usize..10, Just(16usize)];
        prop_oneof![
            channels().prop_map(|n| vec![n]),
            (channels(), channels()).prop_map(|(i, o)| vec![8 * i, 8 * o]),
            (channels(), channels()).prop_map(|(i, o)| vec![1, 1, 8 * i, 8 * o]),
            (channels(), channels()).prop_map(|(i, o)| vec![3, 3, i, o]),
            (channels(), channels()).prop_map(|(i, o)| vec![4, 4, i, o]),
        ]
    }

    proptest! {
        #[test]
        fn what_goes_there_comes_back_and_the_rest_is_0(shapes in prop::collection::vec(shape(), 1..6)) {
            let parameter = |shape: Vec<usize>| Parameter { name: "p".into(), shape, init: Init::Constant(0.0) };
            let parameters: Vec<Parameter> = shapes.into_iter().map(parameter).collect();
            let layout = Layout::new(&parameters);
            let host: Vec<f32> = (1..=layout.host_len()).map(|i| i as f32).collect();
            let device = layout.to_device(&host);
            let mut back = vec![0.0; host.len()];
            layout.to_host(&device, &mut back);
            prop_assert_eq!(&back, &host);
            prop_assert_eq!(device.iter().filter(|v| **v != 0.0).count(), host.len());
            for (i, parameter) in parameters.iter().enumerate() {
                let (at, room) = layout.of(i);
                prop_assert!(at % PACK == 0 && room >= parameter.len());
                if let [k, _, c_in, c_out] = parameter.shape[..] && k > 1 {
                    // The weight of the last tap from the first input to the last output: where the library looks for it.
                    let taps = k * k;
                    let there = host[parameters[..i].iter().map(Parameter::len).sum::<usize>()..][(taps - 1) * c_in * c_out + c_out - 1];
                    let here = if k == 4 { (taps - 1) * c_out.next_multiple_of(PACK) + c_out - 1 } else { (c_out * taps - 1) * c_in.next_multiple_of(PACK) };
                    prop_assert_eq!(device[at + here], there);
                }
            }
        }

        #[test]
        fn channels_are_filled_up_and_cut_off(pixels in 1usize..5, few in 1usize..5, more in 0usize..6) {
            let numbers: Vec<f32> = (1..=pixels * few).map(|i| i as f32).collect();
            let wide = with_channels(&numbers, few, few + more);
            prop_assert_eq!(wide.iter().filter(|v| **v == 0.0).count(), pixels * more);
            prop_assert_eq!(with_channels(&wide, few + more, few), numbers);
        }
    }
}
