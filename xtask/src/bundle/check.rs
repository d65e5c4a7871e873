//! Looking at what was made, with code that did not make it.

use super::{Plan, unsigned};
use crate::workspace::Workspace;
use anyhow::{Result, bail};
use mdm::jobs::JOBS;
use packaging::inspect::{Expected, inspect};

/// Fails when anything in the folder is not as it must be.
pub(super) fn all(workspace: &Workspace, plan: &Plan) -> Result<()> {
    println!("looking at what was made");
    unsigned::look_at(workspace, &plan.app(), &plan.identity)?;
    let findings = inspect(
        &plan.output.path,
        &Expected {
            identity: &plan.identity,
            version: plan.version,
            variant: plan.variant,
            jobs: JOBS,
        },
    );
    if findings.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> = findings.iter().map(|it| format!("- {it}")).collect();
    bail!(
        "what was made is not as it must be, so do not use it:\n{}",
        lines.join("\n")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::output;
    use mdm::identity::{APP, EXTENSION, Identity, Signer};
    use packaging::app;
    use std::collections::BTreeSet;
    use std::path::{Path, PathBuf};
    use std::{env, fs};

    #[test]
    fn every_program_that_is_shipped_is_in_the_app() {
        let workspace = Workspace::load().unwrap();
        let is_shipped = |name: &str| !["sim", "xtask"].contains(&name);
        let ours = workspace.members.iter().filter(|it| is_shipped(&it.name));
        let programs: BTreeSet<&str> = ours
            .flat_map(|it| &it.programs)
            .map(String::as_str)
            .collect();
        let jobs = JOBS.iter().map(|job| job.program);
        let in_app: BTreeSet<&str> = [app::APP_PROGRAM, app::EXTENSION_PROGRAM]
            .into_iter()
            .chain(jobs)
            .collect();
        assert_eq!(programs, in_app);
    }

    fn identity() -> Identity {
        Identity {
            app: APP.parse().unwrap(),
            extension: EXTENSION.parse().unwrap(),
            team: "THROWAWAY0".parse().unwrap(),
            signer: Signer::DeveloperId,
        }
    }

    fn finished_app() -> PathBuf {
        let bundles = env::var_os("CONNTRAIL_BUNDLES").expect("cargo xtask test sets it");
        Path::new(&bundles).join("developer-id").join(app::APP)
    }

    #[test]
    #[ignore = "needs bundle: reads the programs in the signed app"]
    fn the_programs_in_the_finished_app_are_on_the_lists() {
        let workspace = Workspace::load().unwrap();
        unsigned::look_at(&workspace, &finished_app(), &identity()).unwrap();
    }

    #[test]
    #[ignore = "needs bundle: changes a copy of the signed app"]
    fn a_forbidden_call_in_one_slice_of_the_finished_app_is_found() {
        let workspace = Workspace::load().unwrap();
        let copy = env::temp_dir().join(format!("conntrail-slice-{}", std::process::id()));
        output::copy(&finished_app(), &copy, &[]).unwrap();
        let extension = app::extension_path(&copy, &identity().extension);
        let program = extension
            .join("Contents/MacOS")
            .join(app::EXTENSION_PROGRAM);
        let mut bytes = fs::read(&program).unwrap();
        let [asked, forbidden] = [b"\0allowVerdict\0", b"\0pauseVerdict\0"];
        // The last one is in the second slice; the first slice stays as it is.
        let at = bytes
            .windows(asked.len())
            .rposition(|it| it == asked)
            .unwrap();
        bytes[at..at + asked.len()].copy_from_slice(forbidden);
        fs::write(&program, bytes).unwrap();
        let found = unsigned::look_at(&workspace, &copy, &identity()).unwrap_err();
        fs::remove_dir_all(&copy).unwrap();
        let found = format!("{found:#}");
        assert!(
            found.contains("conntraild (x86_64)") && found.contains("pauseVerdict"),
            "{found}"
        );
        assert!(!found.contains("arm64"), "{found}");
    }
}
