//! Values of a configuration, as a test writes them.

use objc_double::foundation::{self, Number};
use objc_double::{Strong, class_of};
use objc2::runtime::AnyObject;

use crate::classes::configuration::{Fields, fields};

/// A value of a property list.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A string.
    Text(String),
    /// A boolean, which is a number of its own class.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// A number with a fraction.
    Real(f64),
    /// Bytes.
    Data(Vec<u8>),
    /// An array.
    Array(Vec<Value>),
    /// A dictionary, in the order its keys are walked.
    Dictionary(Vec<(String, Value)>),
    /// An object of a class that no property list has; here, a UUID.
    Alien,
}

impl Value {
    /// The object.
    pub fn to_object(&self) -> Strong {
        match self {
            Value::Text(text) => foundation::string(text),
            Value::Bool(value) => foundation::number(Number::Bool(*value)),
            Value::Integer(value) => foundation::number(Number::Signed(*value)),
            Value::Real(value) => foundation::number(Number::Float(*value)),
            Value::Data(bytes) => foundation::data(bytes),
            Value::Array(values) => {
                foundation::array(values.iter().map(Value::to_object).collect())
            }
            Value::Dictionary(pairs) => dictionary(pairs),
            Value::Alien => foundation::uuid([0xA1; 16]),
        }
    }

    /// What an object says.
    pub fn of_object(object: &AnyObject) -> Value {
        if foundation::NS_STRING.is_class_of(object) {
            Value::Text(foundation::text(object).to_owned())
        } else if foundation::NS_NUMBER.is_class_of(object) {
            match foundation::NS_NUMBER.of(object) {
                Number::Bool(value) => Value::Bool(*value),
                Number::Signed(value) => Value::Integer(*value),
                Number::Unsigned(value) => Value::Integer(*value as i64),
                Number::Float(value) => Value::Real(*value),
            }
        } else if foundation::NS_DATA.is_class_of(object) {
            Value::Data(foundation::bytes(object).to_vec())
        } else if foundation::NS_ARRAY.is_class_of(object) {
            let elements = foundation::elements(object).iter();
            Value::Array(elements.map(|element| Value::of_object(element)).collect())
        } else if foundation::NS_DICTIONARY.is_class_of(object) {
            Value::Dictionary(pairs_of(object))
        } else {
            debug_assert!(!class_of(object).name().is_empty());
            Value::Alien
        }
    }
}

/// A dictionary object.
pub(super) fn dictionary(pairs: &[(String, Value)]) -> Strong {
    let pairs = pairs.iter();
    let pairs = pairs.map(|(key, value)| (foundation::string(key), value.to_object()));
    foundation::dictionary(pairs.collect())
}

fn pairs_of(object: &AnyObject) -> Vec<(String, Value)> {
    let pairs = foundation::pairs(object);
    let written = pairs.map(|(key, value)| {
        let key = foundation::text(key).to_owned();
        (key, Value::of_object(value))
    });
    written.collect()
}

/// What a filter is configured to do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProviderConfiguration {
    /// Whether flows of sockets are filtered.
    pub filter_sockets: bool,
    /// Whether packets are filtered; must stay false.
    pub filter_packets: bool,
    /// Keys of our own; none if there is no dictionary.
    pub vendor: Option<Vec<(String, Value)>>,
    /// `organization`.
    pub organization: Option<String>,
    /// `serverAddress`.
    pub server_address: Option<String>,
    /// `username`.
    pub username: Option<String>,
    /// The bundle identifier of the extension with the data provider.
    pub data_provider: Option<String>,
    /// The bundle identifier of the extension with the packet provider.
    pub packet_provider: Option<String>,
}

impl ProviderConfiguration {
    /// What a configuration object says.
    pub(crate) fn of_object(object: &AnyObject) -> ProviderConfiguration {
        let fields = fields(object);
        let text = |object: Option<Strong>| object.map(|text| foundation::text(&text).to_owned());
        ProviderConfiguration {
            filter_sockets: fields.filter_sockets,
            filter_packets: fields.filter_packets,
            vendor: fields.vendor_configuration.map(|vendor| pairs_of(&vendor)),
            organization: text(fields.organization),
            server_address: text(fields.server_address),
            username: text(fields.username),
            data_provider: text(fields.data_provider),
            packet_provider: text(fields.packet_provider),
        }
    }

    pub(crate) fn fields(&self) -> Fields {
        let text = |text: &Option<String>| text.as_deref().map(foundation::string);
        Fields {
            filter_sockets: self.filter_sockets,
            filter_packets: self.filter_packets,
            vendor_configuration: self.vendor.as_deref().map(dictionary),
            organization: text(&self.organization),
            server_address: text(&self.server_address),
            username: text(&self.username),
            data_provider: text(&self.data_provider),
            packet_provider: text(&self.packet_provider),
            ..Fields::default()
        }
    }
}
