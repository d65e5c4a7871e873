//! Whether the machine runs on battery.

use std::fs;
use std::path::Path;

/// Where Linux says what powers the machine.
pub const SUPPLIES: &str = "/sys/class/power_supply";

/// Whether it does, by the supplies in `folder`; `None` where that cannot be told, as on systems
/// other than Linux.
///
/// Mains say whether they are there; where there are none, a battery says whether it is drawn upon.
pub(crate) fn is_on_battery(folder: &Path) -> Option<bool> {
    let (mut mains, mut batteries) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(folder).ok()?.flatten() {
        let read = |name: &str| fs::read_to_string(entry.path().join(name)).unwrap_or_default();
        match read("type").trim() {
            "Mains" | "USB" => mains.push(read("online").trim() == "1"),
            "Battery" if read("scope").trim() != "Device" => {
                batteries.push(read("status").trim() == "Discharging");
            }
            _ => {}
        }
    }
    if batteries.is_empty() {
        return (!mains.is_empty()).then_some(false);
    }
    Some(!mains.contains(&true) && batteries.contains(&true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mains_that_are_there_are_power_and_a_mouse_is_no_battery() {
        let folder = tempfile::tempdir().unwrap();
        let put = |supply: &str, name: &str, text: &str| {
            let supply = folder.path().join(supply);
            fs::create_dir_all(&supply).unwrap();
            fs::write(supply.join(name), text).unwrap();
        };
        assert_eq!(is_on_battery(folder.path()), None);
        put("AC", "type", "Mains\n");
        put("AC", "online", "1\n");
        assert_eq!(is_on_battery(folder.path()), Some(false));
        put("mouse", "type", "Battery\n");
        put("mouse", "scope", "Device\n");
        put("mouse", "status", "Discharging\n");
        put("AC", "online", "0\n");
        assert_eq!(is_on_battery(folder.path()), Some(false));
        put("BAT0", "type", "Battery\n");
        put("BAT0", "status", "Discharging\n");
        assert_eq!(is_on_battery(folder.path()), Some(true));
        put("AC", "online", "1\n");
        assert_eq!(is_on_battery(folder.path()), Some(false));
    }
}
