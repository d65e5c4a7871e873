//! CoreFoundation, through the bindings.

use darwin_double::{cf, machine};
use objc2_core_foundation::*;
use std::ptr::NonNull;

#[test]
fn a_string_comes_back_as_it_went_in() {
    let _machine = machine::lock();
    for text in ["", "plain", "Grüße", "日本", "😀 and 🚀", "a\0b"] {
        let string = CFString::from_str(text);
        assert_eq!(string.to_string(), text);
        assert_eq!(string.length(), text.encode_utf16().count() as isize);
    }
    assert_eq!(cf::live_total(), 0);
}

#[test]
fn a_string_longer_than_the_bindings_buffer_is_not_cut_in_a_character() {
    let _machine = machine::lock();
    let text = "é日😀".repeat(50);
    assert_eq!(CFString::from_str(&text).to_string(), text);
}

#[test]
fn half_a_pair_of_units_is_replaced() {
    let _machine = machine::lock();
    let units = [u16::from(b'a'), 0xD83D, u16::from(b'b')];
    // SAFETY: the units are three.
    let string = unsafe { CFString::with_characters(None, units.as_ptr(), 3) }.unwrap();
    assert_eq!(string.to_string(), "a\u{FFFD}b");
}

#[test]
fn bytes_that_are_not_utf_8_make_no_string() {
    let _machine = machine::lock();
    let utf_8 = CFStringBuiltInEncodings::EncodingUTF8.0;
    // SAFETY: the bytes are two.
    let string = unsafe { CFString::with_bytes(None, [0xC3, 0x28].as_ptr(), 2, utf_8, false) };
    assert_eq!(string, None);
}

#[test]
fn a_c_string_needs_room_for_its_end() {
    let _machine = machine::lock();
    let string = CFString::from_str("four");
    let utf_8 = CFStringBuiltInEncodings::EncodingUTF8.0;
    let mut buffer = [1_i8; 5];
    // SAFETY: the buffer is as long as is said, or longer.
    unsafe {
        assert!(!string.c_string(buffer.as_mut_ptr(), 4, utf_8));
        assert!(string.c_string(buffer.as_mut_ptr(), 5, utf_8));
    }
    assert_eq!(buffer, [102, 111, 117, 114, 0]);
}

#[test]
fn strings_may_have_no_pointer_to_give() {
    let _machine = machine::lock();
    let ascii = CFStringBuiltInEncodings::EncodingASCII.0;
    let (plain, other) = (CFString::from_str("plain"), CFString::from_str("größer"));
    assert!(!plain.c_string_ptr(ascii).is_null());
    assert!(other.c_string_ptr(ascii).is_null());
    cf::set_strings_have_pointers(false);
    assert!(plain.c_string_ptr(ascii).is_null());
    assert_eq!(plain.to_string(), "plain");
}

#[test]
fn strings_compare_by_what_they_say() {
    let _machine = machine::lock();
    let (one, same, other) = (
        CFString::from_str("a"),
        CFString::from_str("a"),
        CFString::from_str("b"),
    );
    assert_eq!(one, same);
    assert_ne!(one, other);
    assert!(one < other);
    let hash = |string: &CFString| CFHash(Some(string));
    assert_eq!(hash(&one), hash(&same));
}

#[test]
fn data_comes_back_as_it_went_in() {
    let _machine = machine::lock();
    let data = CFData::from_bytes(&[1, 2, 3]);
    assert_eq!(data.to_vec(), [1, 2, 3]);
    assert_eq!(data, CFData::from_bytes(&[1, 2, 3]));
    assert!(CFData::from_bytes(&[]).is_empty());
    assert_eq!(CFData::from_bytes(&[]).to_vec(), []);
}

#[test]
fn numbers_say_whether_they_fit() {
    let _machine = machine::lock();
    assert_eq!(CFNumber::new_i64(1 << 40).as_i64(), Some(1 << 40));
    assert_eq!(CFNumber::new_i64(1 << 40).as_i32(), None);
    assert_eq!(CFNumber::new_i32(-7).as_i64(), Some(-7));
    assert_eq!(CFNumber::new_f64(2.5).as_f64(), Some(2.5));
    assert_eq!(CFNumber::new_f64(2.5).as_i64(), None);
    assert!(CFNumber::new_f64(2.5) > CFNumber::new_i32(2));
    assert!(CFBoolean::new(true).as_bool());
    assert!(!CFBoolean::new(false).as_bool());
}

#[test]
fn a_dictionary_finds_equal_keys() {
    let _machine = machine::lock();
    let (key, value) = (CFString::from_str("key"), CFNumber::new_i32(5));
    let dictionary = CFDictionary::from_slices(&[&*key], &[&*value]);
    let found = dictionary.get(&CFString::from_str("key"));
    assert_eq!(found.and_then(|number| number.as_i32()), Some(5));
    assert_eq!(dictionary.get(&CFString::from_str("other")), None);
    assert_eq!(dictionary.len(), 1);
    let (keys, values) = dictionary.to_vecs();
    assert_eq!(
        (keys[0].to_string(), values[0].as_i32()),
        ("key".to_owned(), Some(5))
    );
}

#[test]
fn a_dictionary_that_changes_keeps_and_lets_go() {
    let _machine = machine::lock();
    let dictionary = CFMutableDictionary::<CFString, CFNumber>::empty();
    let key = CFString::from_str("key");
    dictionary.set(&key, &CFNumber::new_i32(1));
    dictionary.add(&key, &CFNumber::new_i32(2));
    assert_eq!(
        dictionary.get(&key).and_then(|number| number.as_i32()),
        Some(1)
    );
    dictionary.set(&key, &CFNumber::new_i32(3));
    assert_eq!(
        dictionary.get(&key).and_then(|number| number.as_i32()),
        Some(3)
    );
    assert_eq!(cf::live().get("CFNumber"), Some(&1));
    dictionary.remove(&key);
    assert!(dictionary.is_empty());
    assert_eq!(key.retain_count(), 1);
}

#[test]
fn an_array_holds_its_items() {
    let _machine = machine::lock();
    let item = CFString::from_str("item");
    let array = CFArray::from_objects(&[&*item, &*item]);
    assert_eq!(item.retain_count(), 3);
    assert_eq!(
        array
            .iter()
            .map(|item| item.to_string())
            .collect::<Vec<_>>(),
        ["item", "item"]
    );
    drop(array);
    assert_eq!(item.retain_count(), 1);
}

#[test]
fn an_object_is_taken_for_what_it_is() {
    let _machine = machine::lock();
    let object: CFRetained<CFType> = CFString::from_str("text").into();
    assert!(object.downcast_ref::<CFString>().is_some());
    assert!(object.downcast_ref::<CFNumber>().is_none());
    assert!(object.downcast_ref::<CFBoolean>().is_none());
}

#[test]
fn a_file_url_has_its_path() {
    let _machine = machine::lock();
    let path = "/Library/A b/é.app";
    let url = CFURL::from_file_path(path).unwrap();
    assert_eq!(url.to_file_path().unwrap().to_str(), Some(path));
    assert_eq!(url.string().to_string(), "file:///Library/A%20b/%C3%A9.app");
    assert!(
        CFURL::from_directory_path("/Applications")
            .unwrap()
            .has_directory_path()
    );
}

#[test]
fn the_main_bundle_is_the_one_the_machine_has() {
    let _machine = machine::lock();
    machine::bundle(|bundle| {
        bundle
            .information
            .insert("CFBundleIdentifier".to_owned(), "com.example.app".into());
        bundle.information.insert("Depth".to_owned(), 3_i64.into());
    });
    let bundle = CFBundle::main_bundle().unwrap();
    assert_eq!(bundle.identifier().unwrap().to_string(), "com.example.app");
    let depth = bundle
        .value_for_info_dictionary_key(Some(&CFString::from_str("Depth")))
        .unwrap();
    assert_eq!(
        depth.downcast_ref::<CFNumber>().and_then(CFNumber::as_i32),
        Some(3)
    );
    let absent = bundle.value_for_info_dictionary_key(Some(&CFString::from_str("Absent")));
    assert!(absent.is_none());
    assert!(
        bundle
            .bundle_url()
            .unwrap()
            .to_file_path()
            .unwrap()
            .ends_with("com.example.agent.filter.systemextension")
    );
    drop((bundle, depth));
    assert_eq!(cf::live_total(), 0);
}

#[test]
fn what_is_held_is_counted_by_class() {
    let _machine = machine::lock();
    let before = cf::created();
    let strings = [CFString::from_str("a"), CFString::from_str("b")];
    let data = CFData::from_bytes(&[1]);
    let again = strings[0].clone();
    assert_eq!(
        cf::live().into_iter().collect::<Vec<_>>(),
        [("CFData", 1), ("CFString", 2)]
    );
    assert_eq!(cf::created() - before, 3);
    drop((strings, data));
    assert_eq!(cf::live_total(), 1);
    drop(again);
    assert_eq!(cf::live_total(), 0);
}

#[test]
fn a_release_too_many_is_found() {
    let _machine = machine::lock();
    let string = CFString::from_str("gone");
    let pointer = NonNull::from(&*string);
    drop(string);
    assert_eq!(cf::over_released(), [""; 0]);
    // SAFETY: it is not held any more, which is what the double is to find; it keeps the memory.
    drop(unsafe { CFRetained::from_raw(pointer) });
    assert_eq!(cf::over_released(), ["CFString"]);
    assert_eq!(cf::live_total(), 0);
}

#[test]
#[should_panic(expected = "a CFString was used that nobody holds any more")]
fn a_use_after_the_last_release_is_found() {
    let _machine = machine::lock();
    let string = CFString::from_str("gone");
    let pointer = NonNull::from(&*string);
    drop(string);
    // SAFETY: as above.
    unsafe { pointer.as_ref() }.length();
}

#[test]
fn keys_that_live_for_ever_are_not_counted() {
    let _machine = machine::lock();
    // SAFETY: it is a constant.
    let mode = unsafe { kCFRunLoopDefaultMode }.unwrap();
    for _ in 0..3 {
        drop(mode.retain());
    }
    assert_eq!(mode.to_string(), "kCFRunLoopDefaultMode");
    assert_eq!(cf::live_total(), 0);
    assert_eq!(cf::over_released(), [""; 0]);
}
