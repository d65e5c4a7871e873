//! The installer's package: read by readers that are not ours, changed, and run.

mod bare_root;
mod bundle;
mod inspection;
mod mistakes;
mod readers;
mod sample;
mod scripts;
mod uninstall;
