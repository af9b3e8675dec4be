//! What a run is made of: the load, the fleet, and what goes wrong when. A seed decides all of it.

/// SplitMix64, so that a seed means the same run for ever.
#[derive(Clone, Debug)]
pub(super) struct Rng(pub(super) u64);

impl Rng {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// From 0 to 1.
    pub(super) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub(super) fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    pub(super) fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    pub(super) fn chance(&mut self, p: f64) -> bool {
        self.unit() < p
    }

    /// Gaps of a Poisson process.
    pub(super) fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.unit()).ln()
    }
}

/// What goes wrong with a worker.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Fault {
    /// Its process dies, and its supervisor starts it again when the fault ends.
    Crash,
    /// Everything of it stops, heartbeats too (SIGSTOP).
    Freeze,
    /// The model hangs; heartbeats go on.
    Hang,
    /// It takes this many times as long.
    Slow(f64),
    /// Nothing reaches it or comes from it.
    Partition,
    /// It fails every request at once.
    FailFast,
    /// It is drained, and hands back what it did not start.
    Drain,
    /// The coordinator itself is stopped.
    Pause,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Incident {
    pub(super) worker: usize,
    pub(super) fault: Fault,
    pub(super) from: f64,
    pub(super) to: f64,
}

#[derive(Clone, Debug)]
pub(super) struct Scenario {
    pub(super) name: String,
    pub(super) seed: u64,
    pub(super) seconds: f64,
    /// Requests a second.
    pub(super) rate: f64,
    pub(super) workers: usize,
    /// Compute seconds of a batch: fixed and for each item.
    pub(super) fixed: f64,
    pub(super) per_item: f64,
    pub(super) max_batch: usize,
    pub(super) capacity: u32,
    pub(super) queue_capacity: usize,
    /// Time budgets of requests, shortest and longest.
    pub(super) timeout: (f64, f64),
    /// Share of requests whose client leaves early.
    pub(super) leaves: f64,
    /// For each attempt: it fails, it is never answered, its network delay.
    pub(super) crash: f64,
    pub(super) swallow: f64,
    pub(super) delay: (f64, f64),
    /// Share of events at which the clock shows an earlier time than before.
    pub(super) clock_steps: f64,
    /// How many tasks the requests are of.
    pub(super) tasks: usize,
    /// How many times as long as written above each task's batches take.
    pub(super) sizes: [f64; 4],
    /// Share of workers that have only a fallback model.
    pub(super) fallbacks: f64,
    pub(super) incidents: Vec<Incident>,
}

impl Scenario {
    /// A healthy fleet under a plain load.
    pub(super) fn plain(name: &str, seed: u64, workers: usize, rate: f64, seconds: f64) -> Self {
        Self {
            name: name.to_owned(),
            seed,
            seconds,
            rate,
            workers,
            fixed: 0.0,
            per_item: 0.02,
            max_batch: 32,
            capacity: 64,
            queue_capacity: 10_000,
            timeout: (10.0, 10.0),
            leaves: 0.0,
            crash: 0.0,
            swallow: 0.0,
            delay: (0.0002, 0.0006),
            clock_steps: 0.0,
            tasks: 1,
            sizes: [1.0; 4],
            fallbacks: 0.0,
            incidents: Vec::new(),
        }
    }

    /// With the faults of `aiq up --faults`.
    pub(super) fn with_base_faults(self) -> Self {
        Self { crash: 0.02, swallow: 0.03, delay: (0.1, 0.8), timeout: (30.0, 30.0), ..self }
    }

    /// Anything.
    pub(super) fn random(seed: u64) -> Self {
        let mut rng = Rng(seed ^ 0x5EED);
        let workers = 1 + rng.below(8);
        let per_item = rng.between(0.002, 0.04);
        let fixed = if rng.chance(0.5) { per_item * rng.between(0.0, 4.0) } else { 0.0 };
        let peak = workers as f64 / (per_item + fixed / 8.0);
        let seconds = rng.between(6.0, 14.0);
        // Few requests each, from a third of the peak to three times of it.
        let rate = (peak * rng.between(0.3, 1.0) * if rng.chance(0.3) { 3.0 } else { 1.0 }).min(90.0);
        let faults = [
            Fault::Crash,
            Fault::Freeze,
            Fault::Hang,
            Fault::Slow(rng.between(2.0, 20.0)),
            Fault::Partition,
            Fault::FailFast,
            Fault::Drain,
            Fault::Pause,
        ];
        let mut incidents = Vec::new();
        for _ in 0..rng.below(5) {
            let from = rng.between(0.5, seconds);
            let to = from + rng.between(0.3, 6.0);
            incidents.push(Incident { worker: rng.below(workers), fault: faults[rng.below(faults.len())], from, to });
        }
        let base_faults = rng.chance(0.3);
        Self {
            name: format!("seed {seed}"),
            seed,
            seconds,
            rate,
            workers,
            fixed,
            per_item,
            max_batch: 1 + rng.below(32),
            capacity: 1 + rng.below(64) as u32,
            queue_capacity: 1 + rng.below(200),
            timeout: (rng.between(0.05, 2.0), rng.between(2.0, 30.0)),
            leaves: if rng.chance(0.3) { 0.1 } else { 0.0 },
            crash: if base_faults { 0.02 } else { 0.0 },
            swallow: if base_faults { 0.03 } else { 0.0 },
            delay: if base_faults { (0.1, 0.8) } else { (0.0002, 0.002) },
            clock_steps: if rng.chance(0.2) { 0.01 } else { 0.0 },
            tasks: 1 + rng.below(4),
            fallbacks: if rng.chance(0.3) { 0.5 } else { 0.0 },
            sizes: if rng.chance(0.3) { [(); 4].map(|()| rng.between(0.1, 3.0)) } else { [1.0; 4] },
            incidents,
        }
    }
}
