//! Whole networks at their full size, for `benches/inference/compare.py` (`just bench-inference`), which makes the weights
//! and runs this beside other engines. One process is one engine with one network; it computes when it is told to on its
//! standard input, so that engines can take turns.
//!
//!     networks serve aiq-fp32|aiq-int8|aiq-gpu|candle NETWORK FOLDER THREADS    answers lines `CASE SECONDS LEAST`
//!     networks texts NETWORK FOLDER fp32|int8 ISA                               outputs for each line of text, as JSON

mod stock;

use std::io::{BufRead as _, Write as _, stdin, stdout};
use std::path::Path;
use std::time::{Duration, Instant};

use aiq::inference::kernels::Isa;
use aiq::inference::{Bare, Context, Place, Precision, Wanted};
use anyhow::{Context as _, Result, bail};
use candle_core::{Device, Tensor};
use serde_json::json;

/// As in the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["serve", engine, network, folder, threads, ..] => serve(engine, network, Path::new(folder), threads.parse()?),
        ["texts", network, folder, precision, isa, ..] => texts(network, Path::new(folder), precision, isa),
        // As `cargo bench` calls it among others.
        _ => {
            writeln!(stdout(), "whole networks are compared by `just bench-inference`")?;
            Ok(())
        }
    }
}

/// A network, and what it computes with.
enum Engine {
    Ours(Bare, Context),
    Stock(stock::MobileNetV2),
}

impl Engine {
    fn load(engine: &str, network: &str, folder: &Path, threads: usize) -> Result<Self> {
        let place = match engine {
            "aiq-fp32" => Place::from(Precision::Fp32),
            "aiq-int8" => Place::from(Precision::Int8),
            "aiq-gpu" if cfg!(feature = "metal") => Place::choose(Wanted::Metal, Precision::Fp32)?,
            "aiq-gpu" => Place::choose(Wanted::Cuda, Precision::Fp32)?,
            "candle" if network == "mobilenet" => return Ok(Self::Stock(stock::MobileNetV2::load(folder)?)),
            "candle" => Place::Candle(Device::Cpu),
            _ => bail!("engine \"{engine}\"; aiq-fp32, aiq-int8, aiq-gpu and candle are known"),
        };
        Ok(Self::Ours(Bare::load(network, folder, &place)?, Context::new(threads)))
    }

    fn run(&mut self, input: &Input) -> Result<Vec<f32>> {
        Ok(match (self, input) {
            (Self::Ours(network, context), Input::Texts(texts)) => {
                let texts: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
                network.texts(context, &texts)?
            }
            (Self::Ours(network, context), Input::Pictures(pictures)) => network.pictures(context, pictures)?,
            (Self::Stock(network), Input::Pictures(pictures)) => network.forward(pictures)?,
            (Self::Stock(_), Input::Texts(_)) => bail!("MobileNetV2 takes pictures"),
        })
    }
}

/// A batch.
enum Input {
    Texts(Vec<Vec<u32>>),
    /// `pictures × 224 × 224 × 3`.
    Pictures(Tensor),
}

/// The inputs of a case, as `peer.py` makes them: `8x16` texts × tokens, `5+9+64` tokens of each text, `b8` pictures.
fn input(network: &str, case: &str) -> Result<Input> {
    if let Some(count) = case.strip_prefix('b') {
        let number = |index: usize| (index * 7_919 % 2_003) as f32 / 1_001.5 - 1.0;
        let count = count.parse::<usize>()?;
        let numbers = (0..count).flat_map(|at| (0..224 * 224 * 3).map(move |index| number(index + at * 31)));
        return Ok(Input::Pictures(Tensor::from_vec(numbers.collect(), (count, 224, 224, 3), &Device::Cpu)?));
    }
    let lengths: Vec<usize> = match case.split_once('x') {
        Some((texts, tokens)) => vec![tokens.parse()?; texts.parse()?],
        None => case.split('+').map(str::parse).collect::<Result<_, _>>()?,
    };
    let text = |(at, &length): (usize, &usize)| {
        let mut ids: Vec<u32> = (0..length).map(|index| 1_000 + (index * 7_919 + at * 101) as u32 % 28_000).collect();
        if network == "clip-text" {
            ids[0] = 49_406;
            ids[length - 1] = 49_407;
        }
        ids
    };
    Ok(Input::Texts(lengths.iter().enumerate().map(text).collect()))
}

fn serve(engine: &str, network: &str, folder: &Path, threads: usize) -> Result<()> {
    let start = Instant::now();
    let mut engine = Engine::load(engine, network, folder, threads)?;
    let load = start.elapsed().as_secs_f64();
    writeln!(stdout(), "{}", json!({"load_s": load, "isa": Isa::detect().name()}))?;
    for line in stdin().lock().lines() {
        let line = line?;
        let [case, seconds, least] = line.split(' ').collect::<Vec<_>>()[..] else { bail!("line \"{line}\"") };
        let (seconds, least) = (Duration::try_from_secs_f64(seconds.parse()?)?, least.parse::<usize>()?);
        let input = input(network, case)?;
        let output = engine.run(&input)?;
        let mut times = Vec::new();
        let start = Instant::now();
        while times.len() < least || start.elapsed() < seconds {
            let start = Instant::now();
            engine.run(&input)?;
            times.push(start.elapsed().as_secs_f64() * 1e3);
        }
        let head: Vec<f32> = output.into_iter().take(8).collect();
        writeln!(stdout(), "{}", json!({"ms": times, "head": head}))?;
    }
    Ok(())
}

/// Outputs for the texts on standard input, one at a time.
fn texts(network: &str, folder: &Path, precision: &str, isa: &str) -> Result<()> {
    let precision = if precision == "int8" { Precision::Int8 } else { Precision::Fp32 };
    let bare = Bare::load(network, folder, &Place::from(precision))?;
    let tokenizer = Bare::tokenizer(folder, if network == "clip-text" { 77 } else { 512 })?;
    let mut context = Context::new(1);
    let known = Isa::available();
    let named = known.iter().find(|known| known.name() == isa);
    context.compute.isa = *named.with_context(|| format!("this processor has no instructions \"{isa}\""))?;
    for line in stdin().lock().lines() {
        let output = bare.texts(&mut context, &[&tokenizer.encode(&line?).map_err(anyhow::Error::msg)?.ids])?;
        writeln!(stdout(), "{}", json!(output))?;
    }
    Ok(())
}
