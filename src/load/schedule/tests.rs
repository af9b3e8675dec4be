use proptest::prelude::*;

use super::shape::Kind;
use super::*;

const INPUTS: [usize; 4] = [300, 24, 60, 48];

fn picks(seed: u64) -> Picks {
    Picks::new(seed, &"text=60,image=25,clip=15".parse().unwrap(), INPUTS)
}

fn arrivals(shape: &Shape, seed: u64, how: LoadArrivals) -> Vec<Arrival> {
    Arrivals::new(shape, seed, how, picks(seed), None).collect()
}

fn shapes() -> impl Strategy<Value = Shape> {
    let sustained = (1.0..400.0_f64, 1.0..20.0_f64).prop_map(|(rate, length)| Shape::sustained(rate, length));
    let burst = (1_u32..300, 0.5..5.0_f64, 0.0..50.0_f64, 6.0..20.0_f64)
        .prop_map(|(size, every, base_rate, length)| Shape::burst(Bursts { size, every, base_rate }, length));
    let mixed = (1.0..200.0_f64, 4.0..60.0_f64, 1_u32..200, any::<u64>())
        .prop_map(|(peak, length, burst_size, seed)| Mixed { peak, length, burst_size, seed }.shape());
    let simple = (1_u32..100).prop_map(Shape::simple);
    (prop_oneof![sustained, burst, mixed, simple], 0.0..3.0_f64, 0.0..3.0_f64)
        .prop_map(|(shape, ramp, warmup)| shape.after_lead_in(ramp, warmup))
}

proptest! {
    #[test]
    fn a_seed_gives_the_same_schedule(shape in shapes(), seed in any::<u64>()) {
        let how = LoadArrivals::Poisson;
        prop_assert_eq!(arrivals(&shape, seed, how), arrivals(&shape, seed, how));
    }

    #[test]
    fn arrivals_are_in_order_in_time_and_numbered(shape in shapes(), seed in any::<u64>(), even in any::<bool>()) {
        let how = if even { LoadArrivals::Constant } else { LoadArrivals::Poisson };
        let mut last = Duration::ZERO;
        for (i, a) in arrivals(&shape, seed, how).into_iter().enumerate() {
            prop_assert_eq!(a.seq, i as u64);
            prop_assert!(a.due >= last);
            prop_assert!(a.due.as_secs_f64() <= shape.length() + 1e-6);
            prop_assert!((a.input as usize) < INPUTS[a.task.index()]);
            last = a.due;
        }
    }

    #[test]
    fn even_arrivals_are_as_many_as_the_area_under_the_rate(shape in shapes(), seed in any::<u64>()) {
        let n = arrivals(&shape, seed, LoadArrivals::Constant).iter().filter(|a| !a.in_spike).count() as f64;
        let expected: f64 = shape.phases.iter().map(Phase::expected).sum();
        prop_assert!((n - expected).abs() <= 1.0 + 1e-6 * expected, "{} arrivals, {} expected", n, expected);
    }

    #[test]
    fn spikes_are_where_they_belong(shape in shapes(), seed in any::<u64>()) {
        let all = arrivals(&shape, seed, LoadArrivals::Poisson);
        for spike in &shape.spikes {
            let due = Duration::from_secs_f64(spike.at);
            prop_assert_eq!(all.iter().filter(|a| a.in_spike && a.due == due).count() as u32, spike.size);
        }
        let in_spikes = all.iter().filter(|a| a.in_spike).count() as u32;
        prop_assert_eq!(in_spikes, shape.spikes.iter().map(|s| s.size).sum::<u32>());
    }

    #[test]
    fn phases_leave_no_gap(shape in shapes()) {
        let mut at = 0.0;
        for phase in &shape.phases {
            prop_assert!((phase.start - at).abs() < 1e-6);
            prop_assert!(phase.from >= 0.0 && phase.to >= 0.0);
            at = phase.end();
        }
    }

    #[test]
    fn the_limit_counts_what_is_measured(shape in shapes(), limit in 0_u64..50) {
        let limited: Vec<_> = Arrivals::new(&shape, 1, LoadArrivals::Poisson, picks(1), Some(limit)).collect();
        let all = arrivals(&shape, 1, LoadArrivals::Poisson);
        prop_assert_eq!(&limited[..], &all[..limited.len()]);
        let measured = |v: &[Arrival]| v.iter().filter(|a| a.due.as_secs_f64() >= shape.lead - 1e-9).count() as u64;
        prop_assert!(measured(&limited).abs_diff(measured(&all).min(limit)) <= 1);
    }

    #[test]
    fn the_inverse_of_the_area_is_the_inverse(from in 0.0..1e4_f64, to in 0.0..1e4_f64, length in 0.1..1e3_f64, part in 0.0..1.0_f64) {
        let phase = Phase { kind: Kind::Ramp, start: 0.0, length, from, to };
        let n = part * phase.expected();
        let x = phase.time_of(n);
        let area = from * x + 0.5 * (to - from) / length * x * x;
        prop_assert!((area - n).abs() <= 1e-6 * (1.0 + phase.expected()), "{area} for {n}");
    }
}

#[test]
fn another_mix_does_not_move_the_times() {
    let shape = Shape::sustained(50.0, 20.0);
    let times = |mix: &str| -> Vec<Duration> {
        let picks = Picks::new(9, &mix.parse().unwrap(), INPUTS);
        Arrivals::new(&shape, 9, LoadArrivals::Poisson, picks, None).map(|a| a.due).collect()
    };
    assert_eq!(times("text"), times("image=1,clip=4"));
}

#[test]
fn poisson_gaps_have_the_statistics_of_poisson_gaps() {
    // 100 000 gaps at 1000/s: mean 1 ms, standard deviation equal to it; shares under x are 1 − e^−x.
    let all = arrivals(&Shape::sustained(1000.0, 100.0), 3, LoadArrivals::Poisson);
    let gaps: Vec<f64> = all.windows(2).map(|w| (w[1].due.as_secs_f64() - w[0].due.as_secs_f64()) * 1000.0).collect();
    let n = gaps.len() as f64;
    // The count itself is Poisson: standard deviation √100 000 ≈ 316; five of them is one seed in a million.
    assert!((n - 100_000.0).abs() < 5.0 * 316.0, "{n} arrivals");
    let mean = gaps.iter().sum::<f64>() / n;
    let deviation = (gaps.iter().map(|g| (g - mean).powi(2)).sum::<f64>() / n).sqrt();
    assert!((mean - 1.0).abs() < 0.02, "mean {mean}");
    assert!((deviation - 1.0).abs() < 0.03, "standard deviation {deviation}");
    for x in [0.1, 0.5, 1.0, 2.0, 4.0] {
        let share = gaps.iter().filter(|g| **g < x).count() as f64 / n;
        // Kolmogorov's bound at this n: 1.95/√n = 0.0062 at one in a thousand.
        assert!((share - (1.0 - (-x).exp())).abs() < 0.0062, "{share} under {x}");
    }
}

#[test]
fn the_mix_is_kept() {
    let all = arrivals(&Shape::sustained(1000.0, 30.0), 5, LoadArrivals::Constant);
    for (task, share) in [(TaskType::TextClassification, 0.60), (TaskType::ImageClassification, 0.25)] {
        let n = all.iter().filter(|a| a.task == task).count() as f64 / all.len() as f64;
        assert!((n - share).abs() < 0.015, "{task}: {n}");
    }
}

#[test]
fn ten_simple_requests_hold_every_task() {
    let all: Vec<_> = Arrivals::new(&Shape::simple(10), 1, LoadArrivals::Poisson, picks(1).in_turns(), None).collect();
    assert_eq!(all.len(), 10);
    assert!(all.iter().all(|a| a.due == Duration::ZERO));
    for task in TaskType::ALL {
        assert!(all.iter().any(|a| a.task == task), "{task} is missing");
    }
}

#[test]
fn mixed_begins_quiet_and_holds_every_kind() {
    for seed in 0..50 {
        let shape = Mixed { peak: 100.0, length: 60.0, burst_size: 100, seed }.shape();
        assert_eq!(shape.phases[0].kind, Kind::Quiet);
        for kind in [Kind::Quiet, Kind::Ramp, Kind::Burst, Kind::Sustained] {
            assert!(shape.phases.iter().any(|p| p.kind == kind), "seed {seed} has no {kind}");
        }
        assert!((shape.length() - 60.0).abs() < 1e-6);
    }
}
