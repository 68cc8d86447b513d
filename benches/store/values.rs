//! Queues and ropes: what an operation and a merge cost, by size.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion};
use rustyrail::store::MemoryObjects;
use rustyrail::store::merge::{Typed, Value, merge_content};
use rustyrail::store::queue::Queue;
use rustyrail::store::rope::Rope;
use rustyrail::store::value::{Millis, Stamp};

/// Sizes: what grows with their logarithm grows by the same from each to the next.
pub const SIZES: [u64; 4] = [1_000, 10_000, 100_000, 1_000_000];
/// Elements that each side of a merge has pushed.
const PUSHED: u64 = 100;

fn push(queue: &mut Queue, node: &str, times: std::ops::Range<u64>) {
    let node: rustyrail::store::value::Node = node.parse().expect("a node");
    for time in times {
        let time_of = Millis::new(time).expect("a time");
        let stamp = Stamp::new(time_of, node.clone(), 0).expect("a stamp");
        let payload = format!("event {time}");
        queue
            .push_stamped(stamp, payload.as_bytes())
            .expect("a push");
    }
}

/// Push, pop, and the merge of two sides that each pushed 100 elements, one side's after the other's.
pub fn queues(c: &mut Criterion) {
    let mut group = c.benchmark_group("queue");
    for size in SIZES {
        let objects = MemoryObjects::default();
        let mut base = Queue::new();
        push(&mut base, "rail-a", 1..1 + size);
        let base = base.write(&objects).expect("a queue");
        let read = || Queue::read(&objects, &base).expect("a queue");
        let side = |node, from| {
            let mut side = read();
            push(&mut side, node, from..from + PUSHED);
            side.write(&objects).expect("a queue")
        };
        let (ours, theirs) = (side("rail-a", 2 * size), side("rail-b", 3 * size));
        let rule = Typed::<Queue>::new();
        group.bench_function(BenchmarkId::new("merge", size), |b| {
            b.iter(|| {
                black_box(
                    merge_content(&rule, &objects, Some(&base), &ours, &theirs).expect("a merge"),
                )
            })
        });
        let mut queue = read();
        let mut time = 4 * size;
        group.bench_function(BenchmarkId::new("push and pop", size), |b| {
            b.iter(|| {
                time += 1;
                push(&mut queue, "rail-a", time..time + 1);
                black_box(queue.pop(&objects).expect("a pop"))
            })
        });
    }
    group.finish();
}

/// An insertion in the middle, and the merge of two sides with one insertion each.
pub fn ropes(c: &mut Criterion) {
    let mut group = c.benchmark_group("rope");
    for size in SIZES {
        let objects = MemoryObjects::default();
        let mut text = String::new();
        let mut state = 1_u64;
        while (text.len() as u64) < size {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            text += &format!("{} ", state >> 40);
        }
        let rope = Rope::from_text(&objects, &text).expect("a rope");
        group.bench_function(BenchmarkId::new("insert", size), |b| {
            b.iter(|| {
                let mut rope = rope.clone();
                rope.insert(&objects, size / 2, "one more word ")
                    .expect("an insertion");
                black_box(rope)
            })
        });
        let side = |at, word| {
            let mut side = rope.clone();
            side.insert(&objects, at, word).expect("an insertion");
            side.write(&objects).expect("a rope")
        };
        let base = rope.write(&objects).expect("a rope");
        let (ours, theirs) = (side(size / 3, "here "), side(size / 3 * 2, "there "));
        let rule = Typed::<Rope>::new();
        group.bench_function(BenchmarkId::new("merge", size), |b| {
            b.iter(|| {
                black_box(
                    merge_content(&rule, &objects, Some(&base), &ours, &theirs).expect("a merge"),
                )
            })
        });
    }
    group.finish();
}
