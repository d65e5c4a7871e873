//! The two documents that Installer reads first.

use super::{APP_PATH, NAME, OLDEST_MACOS, Product, Script};
use crate::archive::Entry;
use crate::archive::xml::escaped;

/// `Distribution`: what the package as a whole is, and for which machines.
pub(super) fn distribution(product: &Product<'_>, payload: &[Entry]) -> String {
    let id = escaped(&product.package_id());
    let app = escaped(product.identity.app.as_str());
    let version = escaped(&product.package_version());
    let component = escaped(&product.component());
    let size = install_kbytes(payload);
    format!(
        r##"<?xml version="1.0" encoding="utf-8"?>
<installer-gui-script minSpecVersion="2">
    <title>{NAME}</title>
    <product id="{app}" version="{version}"/>
    <options customize="never" require-scripts="false" hostArchitectures="arm64,x86_64"/>
    <domains enable_anywhere="false" enable_currentUserHome="false" enable_localSystem="true"/>
    <volume-check>
        <allowed-os-versions>
            <os-version min="{OLDEST_MACOS}"/>
        </allowed-os-versions>
    </volume-check>
    <choices-outline>
        <line choice="default">
            <line choice="{id}"/>
        </line>
    </choices-outline>
    <choice id="default"/>
    <choice id="{id}" visible="false">
        <pkg-ref id="{id}"/>
    </choice>
    <pkg-ref id="{id}" version="{version}" onConclusion="none"
        installKBytes="{size}">#{component}</pkg-ref>
    <pkg-ref id="{id}">
        <bundle-version/>
    </pkg-ref>
</installer-gui-script>
"##
    )
}

/// `PackageInfo`: how the component is installed.
///
/// The app is upgraded, which removes what the version before had and this one has not. No bundle
/// is listed under `bundle-version`, so that no version is compared and one that is higher or the
/// same is replaced too; none under `relocate`, so that an app that somebody moved does not draw
/// the installation after it.
pub(super) fn package_info(product: &Product<'_>, payload: &[Entry]) -> String {
    let id = escaped(&product.package_id());
    let version = escaped(&product.package_version());
    let app = escaped(product.identity.app.as_str());
    let extension = escaped(product.identity.extension.as_str());
    let short = escaped(&product.version.short.to_string());
    let build = product.version.build;
    let (count, size) = (payload.len(), install_kbytes(payload));
    let versions = format!("CFBundleShortVersionString=\"{short}\" CFBundleVersion=\"{build}\"");
    let nested = extension_path(&extension);
    let (before, after) = (Script::Preinstall.name(), Script::Postinstall.name());
    format!(
        r#"<?xml version="1.0" encoding="utf-8"?>
<pkg-info format-version="2" identifier="{id}" version="{version}" install-location="/"
    auth="root" overwrite-permissions="true" relocatable="false" postinstall-action="none">
    <payload numberOfFiles="{count}" installKBytes="{size}"/>
    <bundle path=".{APP_PATH}" id="{app}" {versions}/>
    <bundle path="{nested}" id="{extension}" {versions}/>
    <bundle-version/>
    <upgrade-bundle>
        <bundle id="{app}"/>
    </upgrade-bundle>
    <update-bundle/>
    <atomic-update-bundle/>
    <strict-identifier>
        <bundle id="{app}"/>
    </strict-identifier>
    <relocate/>
    <scripts>
        <preinstall file="./{before}"/>
        <postinstall file="./{after}"/>
    </scripts>
</pkg-info>
"#
    )
}

/// Where the extension is in the payload.
pub(super) fn extension_path(extension: &str) -> String {
    format!(".{APP_PATH}/Contents/Library/SystemExtensions/{extension}.systemextension")
}

/// The room that it takes, in KiB, rounded up.
pub(super) fn install_kbytes(payload: &[Entry]) -> u64 {
    let bytes: u64 = payload.iter().map(|it| it.content().len() as u64).sum();
    bytes.div_ceil(1024)
}
