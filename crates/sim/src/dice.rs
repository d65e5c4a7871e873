//! Chance, the same for the same seed.

pub use record::sample::Random as Dice;
