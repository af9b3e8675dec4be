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

# Run every test
test *ARGS:
    cargo test {{ARGS}}

# Check formatting and lints, as CI does
lint:
    cargo fmt --check
    cargo clippy --all-targets -- -D warnings

# Format the code
fmt:
    cargo fmt

# Run the benchmarks
bench *ARGS:
    cargo bench {{ARGS}}

# Accept changed snapshots of screens, reports and error bodies; look at the diff afterwards
snapshots:
    INSTA_UPDATE=always cargo test
    git diff --stat -- '*.snap'

# Everything that CI runs
ci:
    .ci/run
