//! The table.

use super::{Availability, Key, Kind, Literal, PayloadRules, Presence, Source, Terms, Version};

/// What the outermost dictionary of a profile has.
pub const TOP_LEVEL: PayloadRules = PayloadRules {
    name: "TopLevel",
    title: "the profile itself",
    source: Source::AppleFile,
    macos: EVERYWHERE,
    keys: &[
        text("PayloadIdentifier").required(),
        text("PayloadUUID").required(),
        text("PayloadType")
            .required()
            .of_values(&[Literal::Text("Configuration")]),
        integer("PayloadVersion")
            .required()
            .of_values(&[Literal::Integer(1)]),
        boolean("IsEncrypted").or_else(Literal::Boolean(false)),
        list(
            "PayloadContent",
            &[dictionary(
                "PayloadContentItem",
                &[key(super::ANY, Kind::Any).required()],
            )
            .unsaid()],
        )
        .required(),
        key("EncryptedPayloadContent", Kind::Data),
        text("PayloadDescription"),
        text("PayloadDisplayName"),
        boolean("HasRemovalPasscode").or_else(Literal::Boolean(false)),
        text("PayloadOrganization"),
        boolean("PayloadRemovalDisallowed").or_else(Literal::Boolean(false)),
        text("PayloadScope")
            .since(10, 8)
            .of_values(&[Literal::Text("System"), Literal::Text("User")]),
        key("RemovalDate", Kind::Date),
        key("DurationUntilRemoval", Kind::Real),
        key("PayloadExpirationDate", Kind::Date),
        integer("TargetDeviceType")
            .since(10, 15)
            .of_values(&[
                Literal::Integer(0),
                Literal::Integer(1),
                Literal::Integer(2),
                Literal::Integer(3),
                Literal::Integer(4),
                Literal::Integer(5),
                Literal::Integer(6),
            ])
            .or_else(Literal::Integer(0)),
        dictionary(
            "ConsentText",
            &[dictionary("ConsentTextItem", &[text(super::ANY).required()]).required()],
        ),
    ],
};

/// What every payload has beside its own keys.
pub const COMMON: PayloadRules = PayloadRules {
    name: "CommonPayloadKeys",
    title: "every payload",
    source: Source::AppleFile,
    macos: EVERYWHERE,
    keys: &[
        text("PayloadIdentifier").required(),
        text("PayloadUUID").required(),
        text("PayloadType").required(),
        integer("PayloadVersion")
            .required()
            .of_values(&[Literal::Integer(1)]),
        text("PayloadDescription"),
        text("PayloadDisplayName"),
        text("PayloadOrganization"),
    ],
};

/// Which system extensions may load.
pub const POLICY: PayloadRules = PayloadRules {
    name: "com.apple.system-extension-policy",
    title: "system extension policy",
    source: Source::AppleFile,
    macos: Terms {
        user_channel: Some(false),
        user_approved: Some(true),
        manual_install: Some(false),
        ..since_several(10, 15)
    },
    keys: &[
        boolean("AllowUserOverrides").or_else(Literal::Boolean(true)),
        list(
            "AllowedTeamIdentifiers",
            &[text("AllowedTeamIdentifiersItem").unsaid()],
        ),
        dictionary(
            "AllowedSystemExtensionTypes",
            &[list(
                super::ANY,
                &[text("AllowedSystemExtensionTypesItems").required()],
            )],
        ),
        dictionary(
            "AllowedSystemExtensions",
            &[list(
                super::ANY,
                &[text("AllowedSystemExtensionsItems").required()],
            )],
        ),
        dictionary(
            "RemovableSystemExtensions",
            &[list(
                super::ANY,
                &[text("RemovableSystemExtensionsItems").required()],
            )],
        )
        .since(12, 0),
        dictionary(
            "NonRemovableSystemExtensions",
            &[list(
                super::ANY,
                &[text("NonRemovableSystemExtensionsItems").required()],
            )],
        )
        .since(15, 0),
        dictionary(
            "NonRemovableFromUISystemExtensions",
            &[list(
                super::ANY,
                &[text("NonRemovableFromUISystemExtensionsItems").required()],
            )],
        )
        .since(15, 0),
    ],
};

/// The configuration of a content filter.
pub const FILTER: PayloadRules = PayloadRules {
    name: "com.apple.webcontent-filter",
    title: "web content filter",
    source: Source::AppleFile,
    macos: Terms {
        user_channel: Some(false),
        user_approved: Some(false),
        manual_install: Some(true),
        ..since_several(10, 15)
    },
    keys: &[
        text("FilterType")
            .of_values(&[Literal::Text("BuiltIn"), Literal::Text("Plugin")])
            .or_else(Literal::Text("BuiltIn")),
        boolean("AutoFilterEnabled")
            .elsewhere()
            .or_else(Literal::Boolean(false)),
        list("PermittedURLs", &[text("PermittedURLItems").unsaid()]).elsewhere(),
        list("BlacklistedURLs", &[text("BlacklistedURLItems").unsaid()]).elsewhere(),
        list("DenyListURLs", &[text("DenyListURLItems").unsaid()]).elsewhere(),
        boolean("HideDenyListURLs")
            .elsewhere()
            .or_else(Literal::Boolean(false)),
        list(
            "WhitelistedBookmarks",
            &[dictionary(
                "WhitelistedBookmarksItem",
                &[text("URL").required(), text("Title").required()],
            )
            .unsaid()],
        )
        .elsewhere(),
        list(
            "AllowListBookmarks",
            &[dictionary(
                "AllowListBookmarksItem",
                &[text("URL").required(), text("Title").required()],
            )
            .unsaid()],
        )
        .elsewhere(),
        text("UserDefinedName"),
        text("PluginBundleID"),
        text("ServerAddress"),
        text("UserName"),
        text("Password"),
        text("PayloadCertificateUUID").of_form(
            "^[0-9A-Za-z]{8}-[0-9A-Za-z]{4}-[0-9A-Za-z]{4}-[0-9A-Za-z]{4}-[0-9A-Za-z]{12}$",
        ),
        text("Organization"),
        dictionary("VendorConfig", &[key(super::ANY, Kind::Any).required()]),
        boolean("FilterBrowsers")
            .elsewhere()
            .or_else(Literal::Boolean(false)),
        boolean("FilterSockets").or_else(Literal::Boolean(false)),
        text("FilterDataProviderDesignatedRequirement").since(10, 15),
        text("FilterDataProviderBundleIdentifier").since(10, 15),
        boolean("FilterPackets")
            .since(10, 15)
            .or_else(Literal::Boolean(false)),
        text("FilterPacketProviderDesignatedRequirement").since(10, 15),
        text("FilterPacketProviderBundleIdentifier").since(10, 15),
        text("FilterGrade")
            .since(10, 15)
            .of_values(&[Literal::Text("firewall"), Literal::Text("inspector")])
            .or_else(Literal::Text("firewall")),
        text("ContentFilterUUID").elsewhere(),
    ],
};

/// Which login items and daemons are managed.
pub const SERVICES: PayloadRules = PayloadRules {
    name: "com.apple.servicemanagement",
    title: "service management",
    source: Source::AppleFile,
    macos: Terms {
        user_channel: Some(false),
        user_approved: Some(true),
        manual_install: Some(false),
        ..since_several(13, 0)
    },
    keys: &[list(
        "Rules",
        &[dictionary(
            "Rule",
            &[
                text("RuleType").required().of_values(&[
                    Literal::Text("BundleIdentifier"),
                    Literal::Text("BundleIdentifierPrefix"),
                    Literal::Text("Label"),
                    Literal::Text("LabelPrefix"),
                    Literal::Text("TeamIdentifier"),
                ]),
                text("RuleValue").required(),
                text("Comment"),
                text("TeamIdentifier"),
            ],
        )
        .required()],
    )
    .required()],
};

/// What apps may show as notifications.
pub const NOTIFICATIONS: PayloadRules = PayloadRules {
    name: "com.apple.notificationsettings",
    title: "notifications",
    source: Source::OwnTable,
    macos: Terms {
        user_channel: Some(true),
        user_approved: None,
        manual_install: Some(true),
        ..since_several(10, 15)
    },
    keys: &[list(
        "NotificationSettings",
        &[dictionary(
            "NotificationSettingsItem",
            &[
                text("BundleIdentifier").required(),
                boolean("NotificationsEnabled").or_else(Literal::Boolean(true)),
                boolean("ShowInNotificationCenter").or_else(Literal::Boolean(true)),
                boolean("ShowInLockScreen").or_else(Literal::Boolean(true)),
                zero_to_two("AlertType").or_else(Literal::Integer(1)),
                boolean("BadgesEnabled").or_else(Literal::Boolean(true)),
                boolean("SoundsEnabled").or_else(Literal::Boolean(true)),
                boolean("ShowInCarPlay")
                    .elsewhere()
                    .or_else(Literal::Boolean(true)),
                boolean("CriticalAlertEnabled").or_else(Literal::Boolean(false)),
                zero_to_two("GroupingType")
                    .elsewhere()
                    .or_else(Literal::Integer(0)),
                zero_to_two("PreviewType").elsewhere(),
            ],
        )
        .unsaid()],
    )
    .required()],
};

const EVERYWHERE: Terms = Terms {
    introduced: Version {
        major: 10,
        minor: 7,
    },
    deprecated: None,
    removed: None,
    multiple: Some(false),
    device_channel: Some(true),
    user_channel: Some(true),
    user_approved: Some(false),
    manual_install: Some(true),
};

/// For the machine, and several of them, from this macOS on.
const fn since_several(major: u16, minor: u16) -> Terms {
    Terms {
        introduced: Version { major, minor },
        multiple: Some(true),
        ..EVERYWHERE
    }
}

const fn key(name: &'static str, kind: Kind) -> Key {
    Key {
        name,
        kind,
        presence: Presence::Optional,
        macos: Availability::AsPayload,
        deprecated: None,
        removed: None,
        allowed: &[],
        default: None,
        format: None,
        keys: &[],
    }
}

const fn text(name: &'static str) -> Key {
    key(name, Kind::Text)
}

const fn integer(name: &'static str) -> Key {
    key(name, Kind::Integer)
}

const fn zero_to_two(name: &'static str) -> Key {
    integer(name).of_values(&[
        Literal::Integer(0),
        Literal::Integer(1),
        Literal::Integer(2),
    ])
}

const fn boolean(name: &'static str) -> Key {
    key(name, Kind::Boolean)
}

const fn list(name: &'static str, item: &'static [Key; 1]) -> Key {
    key(name, Kind::List).with(item)
}

const fn dictionary(name: &'static str, keys: &'static [Key]) -> Key {
    key(name, Kind::Dictionary).with(keys)
}

impl Key {
    const fn with(mut self, keys: &'static [Key]) -> Key {
        self.keys = keys;
        self
    }

    const fn required(mut self) -> Key {
        self.presence = Presence::Required;
        self
    }

    const fn unsaid(mut self) -> Key {
        self.presence = Presence::Unsaid;
        self
    }

    const fn since(mut self, major: u16, minor: u16) -> Key {
        self.macos = Availability::Since(Version { major, minor });
        self
    }

    /// Not on macOS.
    const fn elsewhere(mut self) -> Key {
        self.macos = Availability::Never;
        self
    }

    const fn of_values(mut self, allowed: &'static [Literal]) -> Key {
        self.allowed = allowed;
        self
    }

    const fn or_else(mut self, default: Literal) -> Key {
        self.default = Some(default);
        self
    }

    const fn of_form(mut self, format: &'static str) -> Key {
        self.format = Some(format);
        self
    }
}
