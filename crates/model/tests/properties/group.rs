use ddpm_model::group::{Alone, Group, Leader, Link, Member};
use proptest::prelude::*;
use std::io::pipe;

/// Links between rank 0 and the others, over pipes as between processes.
fn group(size: usize) -> (Leader, Vec<Member>) {
    let (mut links, mut members) = (Vec::new(), Vec::new());
    for rank in 1..size {
        let ((from_leader, to_member), (from_member, to_leader)) = (pipe().unwrap(), pipe().unwrap());
        links.push(Link::new(rank, to_member, from_member));
        members.push(Member::new(rank, size, Link::new(0, to_leader, from_leader)));
    }
    (Leader::new(links), members)
}

/// Adds the rank's shards, one after the other, and gathers their places.
fn work(group: &mut dyn Group, shards: &[Vec<f32>]) -> (Vec<u32>, Vec<f64>) {
    let mut sum = vec![f32::NAN; shards[0].len()];
    let mine = group.share(shards.len());
    group.add_up(&mut sum, &mut |sum| shards[mine.clone()].iter().for_each(|g| sum.iter_mut().zip(g).for_each(|(s, g)| *s += g))).unwrap();
    let places = group.gather(mine.map(|shard| shard as f64).collect()).unwrap();
    (sum.into_iter().map(f32::to_bits).collect(), places)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Every rank ends with the bits of one process that adds all shards by itself, whatever their magnitudes.
    #[test]
    fn the_sum_has_the_bits_of_one_process(size in 1usize..5, each in 1usize..4, numbers in prop::collection::vec(-1e30f32..1e30, 12 * 7)) {
        let shards: Vec<Vec<f32>> = numbers.chunks(7).take(size * each).map(|g| g.iter().enumerate().map(|(i, v)| v * 1e-5f32.powi(i as i32)).collect()).collect();
        let expected = work(&mut Alone, &shards);
        let (mut leader, members) = group(size);
        let found: Vec<_> = std::thread::scope(|scope| {
            let others: Vec<_> = members.into_iter().map(|mut m| { let shards = &shards; scope.spawn(move || work(&mut m, shards)) }).collect();
            let first = work(&mut leader, &shards);
            std::iter::once(first).chain(others.into_iter().map(|t| t.join().unwrap())).collect()
        });
        for result in found {
            prop_assert_eq!(&result, &expected);
        }
    }
}

#[test]
fn a_rank_that_is_gone_is_named() {
    let (mut leader, members) = group(2);
    drop(members);
    let error = leader.add_up(&mut [0.0; 4], &mut |_| {}).unwrap_err().to_string();
    assert!(error.contains("rank 1"), "{error}");
}
