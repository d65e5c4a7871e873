//! Writes the events of one day of a pretended Mac, as `conntraild --record-events` would have.
//!
//! `cargo run -p sensor-macos --example recorded_day -- demo/mac.events`

#[cfg(not(target_vendor = "apple"))]
mod day;

#[cfg(not(target_vendor = "apple"))]
fn main() -> std::io::Result<()> {
    let path = std::env::args_os().nth(1);
    let path = path.ok_or_else(|| std::io::Error::other("give the file to write"))?;
    std::fs::write(path, day::play().to_stream())
}

#[cfg(target_vendor = "apple")]
fn main() {
    eprintln!("this plays a day on a pretended Mac, and this is a Mac");
}
