//! What the benches measure with: CPU time, medians, and the machine's own peak.

// The clock of the process is a C function, and the peak is measured with intrinsics.
#![allow(unsafe_code)]

use std::hint::black_box;

/// The median.
pub fn median_of(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// The median CPU time of a call over 9 runs of at least `seconds` each, in seconds.
// Not every bench measures single calls.
#[allow(dead_code)]
pub fn median(seconds: f64, mut f: impl FnMut()) -> f64 {
    let mut calls = 1;
    let timed = |calls: usize, f: &mut dyn FnMut()| {
        let start = cpu_time();
        (0..calls).for_each(|_| f());
        (cpu_time() - start) / calls as f64
    };
    while timed(calls, &mut f) * (calls as f64) < seconds && calls < 1 << 24 {
        calls *= 2;
    }
    median_of((0..9).map(|_| timed(calls, &mut f)).collect())
}

/// CPU time of all threads of this process, in seconds.
#[cfg(target_os = "linux")]
pub fn cpu_time() -> f64 {
    #[repr(C)]
    struct Timespec {
        seconds: i64,
        nanoseconds: i64,
    }
    unsafe extern "C" {
        fn clock_gettime(clock: i32, time: *mut Timespec) -> i32;
    }
    const CLOCK_PROCESS_CPUTIME_ID: i32 = 2;
    let mut time = Timespec { seconds: 0, nanoseconds: 0 };
    // SAFETY: the structure is that of 64-bit Linux, and outlives the call.
    unsafe { clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    time.seconds as f64 + 1e-9 * time.nanoseconds as f64
}

#[cfg(not(target_os = "linux"))]
pub fn cpu_time() -> f64 {
    f64::NAN
}

/// GFLOP/s of twelve independent chains of 256-bit fused multiply-adds.
#[cfg(target_arch = "x86_64")]
pub fn peak() -> f64 {
    use std::arch::x86_64::*;
    #[target_feature(enable = "avx2,fma")]
    unsafe fn chains(n: usize) -> f32 {
        let (a, b) = (_mm256_set1_ps(black_box(0.999)), _mm256_set1_ps(black_box(1e-3)));
        let mut sums = [_mm256_setzero_ps(); 12];
        for _ in 0..n {
            for sum in &mut sums {
                *sum = _mm256_fmadd_ps(*sum, a, b);
            }
        }
        let mut total = sums[0];
        for sum in &sums[1..] {
            total = _mm256_add_ps(total, *sum);
        }
        _mm256_cvtss_f32(total)
    }
    if !is_x86_feature_detected!("avx2") || !is_x86_feature_detected!("fma") {
        return f64::NAN;
    }
    const N: usize = 1_000_000;
    let once = |_| {
        let start = cpu_time();
        // SAFETY: the features were found.
        black_box(unsafe { chains(black_box(N)) });
        cpu_time() - start
    };
    (N * 12 * 16) as f64 / median_of((0..10).map(once).collect()) * 1e-9
}

#[cfg(not(target_arch = "x86_64"))]
pub fn peak() -> f64 {
    f64::NAN
}
