//! `NEFilterProviderConfiguration`: a value that can be changed.

use std::sync::Mutex;

use objc_double::foundation::returned;
use objc_double::{Bool, Id, NS_OBJECT, Strong, class};
use objc2::runtime::{AnyObject, NSZone};

use super::{itself, kept, lock};
use crate::driver::ProviderConfiguration;

/// What a configuration says.
#[derive(Clone, Default)]
pub(crate) struct Fields {
    pub(crate) filter_browsers: bool,
    pub(crate) filter_sockets: bool,
    pub(crate) filter_packets: bool,
    pub(crate) vendor_configuration: Option<Strong>,
    pub(crate) server_address: Option<Strong>,
    pub(crate) username: Option<Strong>,
    pub(crate) organization: Option<Strong>,
    pub(crate) password_reference: Option<Strong>,
    pub(crate) identity_reference: Option<Strong>,
    pub(crate) data_provider: Option<Strong>,
    pub(crate) packet_provider: Option<Strong>,
}

/// The configuration that providers are told.
static CURRENT: Mutex<Option<Strong>> = Mutex::new(None);

/// The configuration that providers are told; one is made if there was none.
pub(crate) fn current() -> Strong {
    let mut current = lock(&CURRENT);
    let fresh = || object(&ProviderConfiguration::default());
    current.get_or_insert_with(fresh).clone()
}

/// Replaces the configuration that providers are told.
pub(crate) fn replace(configuration: Option<Strong>) {
    let old = std::mem::replace(&mut *lock(&CURRENT), configuration);
    drop(old);
}

/// A configuration object.
pub(crate) fn object(configuration: &ProviderConfiguration) -> Strong {
    NE_FILTER_PROVIDER_CONFIGURATION.create(Mutex::new(configuration.fields()))
}

/// What an object says.
pub(crate) fn fields(object: &AnyObject) -> Fields {
    lock(NE_FILTER_PROVIDER_CONFIGURATION.of(object)).clone()
}

fn read(this: &AnyObject, field: fn(&mut Fields) -> &mut Option<Strong>) -> Id {
    let value = field(&mut lock(NE_FILTER_PROVIDER_CONFIGURATION.of(this))).clone();
    returned(value.as_ref())
}

fn write(
    this: &AnyObject,
    field: fn(&mut Fields) -> &mut Option<Strong>,
    value: Option<&AnyObject>,
) {
    let mut fields = lock(NE_FILTER_PROVIDER_CONFIGURATION.of(this));
    let old = std::mem::replace(field(&mut fields), kept(value));
    drop(fields);
    drop(old);
}

fn is_on(this: &AnyObject, field: fn(&mut Fields) -> &mut bool) -> Bool {
    Bool::new(*field(&mut lock(NE_FILTER_PROVIDER_CONFIGURATION.of(this))))
}

fn turn(this: &AnyObject, field: fn(&mut Fields) -> &mut bool, value: Bool) {
    *field(&mut lock(NE_FILTER_PROVIDER_CONFIGURATION.of(this))) = value.as_bool();
}

class! {
    /// What a filter is configured to do.
    pub(crate) static NE_FILTER_PROVIDER_CONFIGURATION: Mutex<Fields> =
        "NEFilterProviderConfiguration": NS_OBJECT;

    - "init" (this) -> Id {
        NE_FILTER_PROVIDER_CONFIGURATION.fill(this, Mutex::default());
        itself(this)
    }
    - "copyWithZone:" (this, _zone: *mut NSZone) -> Id {
        NE_FILTER_PROVIDER_CONFIGURATION.create(Mutex::new(fields(this))).owned()
    }
    - "filterBrowsers" (this) -> Bool { is_on(this, |fields| &mut fields.filter_browsers) }
    - "setFilterBrowsers:" (this, value: Bool) {
        turn(this, |fields| &mut fields.filter_browsers, value)
    }
    - "filterSockets" (this) -> Bool { is_on(this, |fields| &mut fields.filter_sockets) }
    - "setFilterSockets:" (this, value: Bool) {
        turn(this, |fields| &mut fields.filter_sockets, value)
    }
    - "filterPackets" (this) -> Bool { is_on(this, |fields| &mut fields.filter_packets) }
    - "setFilterPackets:" (this, value: Bool) {
        turn(this, |fields| &mut fields.filter_packets, value)
    }
    - "vendorConfiguration" (this) -> Id { read(this, |fields| &mut fields.vendor_configuration) }
    - "setVendorConfiguration:" (this, value: Option<&AnyObject>) {
        write(this, |fields| &mut fields.vendor_configuration, value)
    }
    - "serverAddress" (this) -> Id { read(this, |fields| &mut fields.server_address) }
    - "setServerAddress:" (this, value: Option<&AnyObject>) {
        write(this, |fields| &mut fields.server_address, value)
    }
    - "username" (this) -> Id { read(this, |fields| &mut fields.username) }
    - "setUsername:" (this, value: Option<&AnyObject>) {
        write(this, |fields| &mut fields.username, value)
    }
    - "organization" (this) -> Id { read(this, |fields| &mut fields.organization) }
    - "setOrganization:" (this, value: Option<&AnyObject>) {
        write(this, |fields| &mut fields.organization, value)
    }
    - "passwordReference" (this) -> Id { read(this, |fields| &mut fields.password_reference) }
    - "setPasswordReference:" (this, value: Option<&AnyObject>) {
        write(this, |fields| &mut fields.password_reference, value)
    }
    - "identityReference" (this) -> Id { read(this, |fields| &mut fields.identity_reference) }
    - "setIdentityReference:" (this, value: Option<&AnyObject>) {
        write(this, |fields| &mut fields.identity_reference, value)
    }
    - "filterDataProviderBundleIdentifier" (this) -> Id {
        read(this, |fields| &mut fields.data_provider)
    }
    - "setFilterDataProviderBundleIdentifier:" (this, value: Option<&AnyObject>) {
        write(this, |fields| &mut fields.data_provider, value)
    }
    - "filterPacketProviderBundleIdentifier" (this) -> Id {
        read(this, |fields| &mut fields.packet_provider)
    }
    - "setFilterPacketProviderBundleIdentifier:" (this, value: Option<&AnyObject>) {
        write(this, |fields| &mut fields.packet_provider, value)
    }
}
