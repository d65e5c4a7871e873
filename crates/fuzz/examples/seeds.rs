//! Writes the seeds of a target into a folder: `seeds NAME FOLDER`.

use std::error::Error;
use std::fs;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, folder] = arguments.as_slice() else {
        return Err("seeds NAME FOLDER".into());
    };
    let target = fuzz::target(name).ok_or_else(|| format!("there is no target {name}"))?;
    for (index, seed) in (target.seeds)().iter().enumerate() {
        fs::write(Path::new(folder).join(format!("seed-{index:02}")), seed)?;
    }
    Ok(())
}
