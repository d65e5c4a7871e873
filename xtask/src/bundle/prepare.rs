//! Bundles for the tests: both variants, with certificates that nobody trusts, and the unsigned
//! half once more from a copy of the tree that lies elsewhere.

use super::signer::Signer;
use super::unsigned::{self, Profiles, Programs};
use super::{ORGANIZATION, Options, With, make, plan};
use crate::install::{self, Missing};
use crate::test::needs::Variables;
use crate::workspace::Workspace;
use anyhow::Result;
use mdm::identity::{APP, EXTENSION};
use packaging::credentials::Variant;
use std::fs;
use std::path::Path;

/// Names the folder with a folder for each variant.
const BUNDLES: &str = "CONNTRAIL_BUNDLES";

/// Where the unsigned app of the second build lies in it.
const SECOND: &str = "second";

/// Readers of packages that are not ours, and the Debian packages they come in.
const READERS: &[(&str, &str)] = &[
    ("bsdtar", "libarchive-tools"),
    ("7z", "p7zip-full"),
    ("cpio", "cpio"),
    ("openssl", "openssl"),
];

/// Makes them.
pub(crate) fn prepare(workspace: &Workspace) -> Result<Result<Variables, Missing>> {
    for (program, package) in READERS {
        if let Err(missing) = install::programs(&[program], &[package]) {
            return Ok(Err(missing));
        }
    }
    let bundles = workspace.tools("bundles")?;
    let signer = Signer::install(workspace, &[])?;
    let programs = Programs::build(workspace, workspace)?;
    for variant in Variant::ALL {
        let options = options(variant, &bundles);
        let plan = plan(workspace, &options, Some(&signer))?;
        make(workspace, &plan, &programs, Some(&signer))?;
    }
    build_again(workspace, &bundles, &signer)?;
    Ok(Ok(vec![(BUNDLES, bundles.into())]))
}

/// Builds what [`prepare`] makes the bundles of.
pub(crate) fn build_ahead(workspace: &Workspace) -> Result<()> {
    Signer::install(workspace, &[])?;
    Programs::build(workspace, workspace)?;
    Programs::build_again(workspace, &elsewhere(workspace)?)?;
    Ok(())
}

fn options(variant: Variant, bundles: &Path) -> Options {
    Options {
        variant,
        team: None,
        app_id: APP.parse().expect("our own identifier"),
        extension_id: EXTENSION.parse().expect("our own identifier"),
        organization: ORGANIZATION.to_owned(),
        self_signed: true,
        with: With::default(),
        unsigned: false,
        build_number: None,
        previous: None,
        notarize: None,
        output: Some(bundles.join(variant.name())),
    }
}

/// A copy of the tree in another place, to be built there.
fn elsewhere(workspace: &Workspace) -> Result<Workspace> {
    let elsewhere = workspace.tools("another-place")?;
    let tree = elsewhere.join("tree");
    workspace.copy_sources(&tree)?;
    Ok(workspace.moved(tree, elsewhere.join("target")))
}

/// What is not signed does not depend on where it was built.
fn build_again(workspace: &Workspace, bundles: &Path, signer: &Signer) -> Result<()> {
    let second = elsewhere(workspace)?;
    let programs = Programs::build_again(workspace, &second)?;
    let variant = Variant::DeveloperId;
    let mut options = options(variant, bundles);
    options.output = Some(bundles.join(SECOND));
    let plan = plan(workspace, &options, Some(signer))?;
    let first = bundles.join(variant.name()).join("unsigned");
    let embedded = |path: &Path| fs::read(path.join("Contents/embedded.provisionprofile"));
    let app = first.join(packaging::app::APP);
    let extension = packaging::app::extension_path(&app, &plan.identity.extension);
    let profiles = Profiles {
        app: &embedded(&app)?,
        extension: &embedded(&extension)?,
    };
    unsigned::write(
        workspace,
        &second,
        &programs,
        &plan.product(),
        &profiles,
        &plan.output,
    )?;
    Ok(())
}
