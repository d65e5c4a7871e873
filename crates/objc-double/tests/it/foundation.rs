//! Foundation, through the real objc2-foundation.

use objc_double::foundation::{self, Number};
use objc_double::take_raised;
use objc2::rc::{Retained, autoreleasepool};
use objc2::runtime::AnyObject;
use objc2::{AnyThread, Message};
use objc2_foundation::{
    NSArray, NSCopying, NSData, NSDictionary, NSError, NSLocalizedDescriptionKey, NSNumber,
    NSString, NSURL, NSUUID,
};

use crate::{alone, panic_text};

#[test]
fn strings_keep_every_character() {
    let _alone = alone();
    for text in [
        "",
        "plain",
        "exämple.org",
        "with\0zero",
        "🦀 is two in UTF-16",
    ] {
        let string = NSString::from_str(text);
        assert_eq!(string.to_string(), text);
        assert_eq!(string.len(), text.len());
        assert_eq!(string.length(), text.encode_utf16().count());
        // SAFETY: the text is not used after the pool.
        autoreleasepool(|pool| assert_eq!(unsafe { string.to_str(pool) }, text));
        assert_eq!(
            &*string,
            &*foundation::string(text).into_retained::<NSString>()
        );
        assert_eq!(&*string.copy(), &*string);
        assert_eq!(format!("{string:?}"), format!("{text:?}"));
    }
    assert_ne!(NSString::from_str("a"), NSString::from_str("b"));
    assert_eq!(NSString::new().to_string(), "");
}

#[test]
fn data_keeps_every_byte() {
    let _alone = alone();
    let bytes: Vec<u8> = (0..=255).collect();
    let data = NSData::with_bytes(&bytes);
    assert_eq!(data.to_vec(), bytes);
    assert_eq!(data.len(), 256);
    assert_eq!(NSData::new().to_vec(), [0; 0]);
    let nothing = NSData::new();
    // SAFETY: these methods ask nothing of their callers.
    assert_eq!(unsafe { nothing.as_bytes_unchecked() }, [0; 0]);
    assert_eq!(data, foundation::data(&bytes).into_retained::<NSData>());
}

#[test]
fn a_uuid_keeps_its_bytes_and_is_written_in_capitals() {
    let _alone = alone();
    let bytes = *b"\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\xab\xcd\xef\xfd\xfe\xff";
    let uuid = NSUUID::from_bytes(bytes);
    assert_eq!(uuid.as_bytes(), bytes);
    autoreleasepool(|_| {
        assert_eq!(uuid.to_string(), "00010203-0405-0607-0809-ABCDEFFDFEFF");
    });
    assert_eq!(uuid, foundation::uuid(bytes).into_retained::<NSUUID>());
}

#[test]
fn a_boolean_and_a_number_one_are_equal_and_of_different_classes() {
    let _alone = alone();
    autoreleasepool(|_| {
        let (yes, one) = (NSNumber::new_bool(true), NSNumber::new_i64(1));
        assert_eq!(yes, one);
        assert!(yes.as_bool() && one.as_bool());
        assert_eq!(yes.as_i32(), 1);
        assert_eq!(
            objc2::runtime::AnyObject::class(&yes).name(),
            c"__NSCFBoolean"
        );
        assert_eq!(yes.encoding(), objc2::encode::Encoding::Char);
        assert_eq!(one.encoding(), objc2::encode::Encoding::LongLong);
        assert_eq!(NSNumber::new_u64(u64::MAX).as_u64(), u64::MAX);
        assert_eq!(NSNumber::new_f64(1.5).as_f64(), 1.5);
        assert_eq!(NSNumber::new_i32(-7).to_string(), "-7");
    });
    drop(foundation::number(Number::Signed(3)).into_retained::<NSNumber>());
}

#[test]
fn arrays_give_their_elements_in_order() {
    let _alone = alone();
    autoreleasepool(|_| {
        let texts: Vec<_> = (0..40)
            .map(|n| NSString::from_str(&n.to_string()))
            .collect();
        let array = NSArray::from_retained_slice(&texts);
        assert_eq!(array.len(), 40);
        assert_eq!(array.to_vec(), texts);
        let walked: Vec<String> = array.iter().map(|text| text.to_string()).collect();
        assert_eq!(walked, (0..40).map(|n| n.to_string()).collect::<Vec<_>>());
        assert_eq!(array.firstObject().unwrap().to_string(), "0");
        assert_eq!(array.objectAtIndex(39).to_string(), "39");
        assert!(array.containsObject(&NSString::from_str("7")));
        assert_eq!(array, NSArray::from_retained_slice(&texts));
        assert!(NSArray::<NSString>::new().firstObject().is_none());
    });
}

#[test]
fn what_raises_on_a_mac_panics_and_is_noted() {
    let mut alone = alone();
    let array = NSArray::from_retained_slice(&[NSString::new()]);
    panic_text(|| array.objectAtIndex(1));
    let nothing: [*mut AnyObject; 1] = [std::ptr::null_mut()];
    // SAFETY: these methods ask nothing of their callers.
    let with_nil = || unsafe {
        let place = std::ptr::NonNull::new(nothing.as_ptr().cast_mut().cast()).unwrap();
        NSArray::<AnyObject>::initWithObjects_count(NSArray::alloc(), place.as_ptr(), 1)
    };
    drop(array);
    assert_eq!(alone.forgive(), [""; 0]);
    panic_text(with_nil);
    // The array that was being initialized is lost, as it is when an exception is raised.
    assert_eq!(alone.forgive(), ["NSArray: 1 objects, 1 references"]);
    let raised = take_raised();
    assert!(
        raised[0].contains("NSRangeException: index 1 in an array of 1"),
        "{raised:?}"
    );
    assert!(raised[1].contains("NSInvalidArgumentException: an array was given nil at 0"));
}

#[test]
fn dictionaries_find_their_values_and_can_be_walked() {
    let _alone = alone();
    autoreleasepool(|_| {
        let names: Vec<_> = (0..20)
            .map(|n| NSString::from_str(&format!("key{n}")))
            .collect();
        let keys: Vec<&NSString> = names.iter().map(|key| &**key).collect();
        let values: Vec<Retained<NSNumber>> = (0..20).map(NSNumber::new_i64).collect();
        let dictionary = NSDictionary::from_retained_objects(&keys, &values);
        assert_eq!(dictionary.len(), 20);
        let found = dictionary.objectForKey(&NSString::from_str("key7"));
        assert_eq!(found.unwrap().as_i64(), 7);
        assert!(
            dictionary
                .objectForKey(&NSString::from_str("none"))
                .is_none()
        );
        let walked: Vec<String> = dictionary.keys().map(|key| key.to_string()).collect();
        assert_eq!(walked.len(), 20);
        assert!(walked.contains(&"key19".to_owned()));
        let sum: i64 = dictionary.objects().map(|value| value.as_i64()).sum();
        assert_eq!(sum, 190);
        let (all_keys, all_values) = dictionary.to_vecs();
        assert_eq!((all_keys.len(), all_values.len()), (20, 20));
        // SAFETY: these methods ask nothing of their callers.
        let next = unsafe { dictionary.keyEnumerator() }.nextObject();
        assert_eq!(next.unwrap().to_string(), "key0");
    });
}

#[test]
fn an_error_has_a_domain_a_code_and_words() {
    let _alone = alone();
    autoreleasepool(|_| {
        let error = NSError::new(5, &NSString::from_str("NEFilterErrorDomain"));
        assert_eq!(
            (error.code(), error.domain().to_string().as_str()),
            (5, "NEFilterErrorDomain")
        );
        let words = error.localizedDescription().to_string();
        assert!(words.contains("NEFilterErrorDomain error 5"), "{words}");
        assert_eq!(error.userInfo().len(), 0);

        let error = foundation::error("Domain", 7, Some("what went wrong"));
        let error = error.into_retained::<NSError>();
        assert_eq!(error.localizedDescription().to_string(), "what went wrong");
        // SAFETY: these methods ask nothing of their callers.
        let key = unsafe { NSLocalizedDescriptionKey };
        assert_eq!(key.to_string(), "NSLocalizedDescription");
        let said = error.userInfo().objectForKey(key).unwrap();
        assert_eq!(
            said.downcast::<NSString>().unwrap().to_string(),
            "what went wrong"
        );
    });
}

#[test]
fn a_url_gives_its_host() {
    let _alone = alone();
    autoreleasepool(|_| {
        let host = |text: &str| {
            let url = NSURL::URLWithString(&NSString::from_str(text))?;
            url.host().map(|host| host.to_string())
        };
        assert_eq!(
            host("https://user@www.example.org:8443/a?b").unwrap(),
            "www.example.org"
        );
        assert_eq!(host("http://[2001:db8::1]:80/").unwrap(), "2001:db8::1");
        assert_eq!(host("file:///tmp"), None);
        assert_eq!(host("not a url"), None);
    });
}

#[test]
fn a_double_reads_what_the_bindings_made() {
    let _alone = alone();
    let string = NSString::from_str("both ways");
    assert_eq!(foundation::text(&string), "both ways");
    assert_eq!(foundation::bytes(&NSData::with_bytes(b"xyz")), b"xyz");
    let array = NSArray::from_slice(&[&*string]);
    assert_eq!(foundation::elements(&array).len(), 1);
    assert_eq!(string.retain(), string);
}
