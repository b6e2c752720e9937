//! Mask expansion (AES-128 in counter mode, one thread) beside copying as much memory.
//!
//! `cargo bench -p benchmarks --bench prg`.
#![allow(missing_docs)]

use std::hint::black_box;
use std::time::Duration;

use ai_link_mpc::Prg;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

fn expansion(c: &mut Criterion) {
    let mut group = c.benchmark_group("prg");
    group
        .sample_size(20)
        .warm_up_time(Duration::from_millis(200));
    group.measurement_time(Duration::from_millis(800));
    // A chunk of a layer's material, and more than any cache holds.
    for words in [8 << 10, 8 << 20] {
        group.throughput(Throughput::Bytes(8 * words as u64));
        let prg = Prg::from_key([7; 16]);
        let mut out = vec![0u64; words];
        group.bench_function(BenchmarkId::new("aes-ctr", 8 * words), |b| {
            b.iter(|| prg.fill_stream(0, black_box(&mut out)));
        });
        let source = vec![1u64; words];
        group.bench_function(BenchmarkId::new("memcpy", 8 * words), |b| {
            b.iter(|| black_box(&mut out).copy_from_slice(black_box(&source)));
        });
    }
    group.finish();
}

criterion_group!(benches, expansion);
criterion_main!(benches);
