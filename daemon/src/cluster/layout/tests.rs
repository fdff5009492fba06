//! The bytes stay as they are, and none passes for another.

use super::*;

const BOOT: Boot = Boot([0xB0; 16]);

fn sealer(namespace: &str) -> Sealer {
    Sealer::new(&[7; 32], namespace)
}

fn sum() -> Key {
    Key {
        pattern: Pattern::parse("role:math,cmd:sum").expect("a pattern"),
        instance: InstanceId([0x1D; 16]),
    }
}

fn payload() -> Record {
    Record {
        incarnation: 300,
        kind: Kind::Http,
        payload: b"payload".as_slice().into(),
    }
}

fn summary() -> Head {
    Head {
        version: 0x1234,
        sum: Sum {
            count: 2,
            digest: Digest(u128::MAX - 1),
        },
        node: InstanceId([0x0D; 16]),
        address: "192.0.2.1:9999".to_owned(),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn records_heads_counters_and_deltas_have_these_bytes() {
    let sealer = sealer("shop");
    let field = field(&sum());
    assert_eq!(
        hex(&field),
        "726f6c653a6d6174682c636d643a73756d00\
         1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d"
    );
    let value = record(&sealer, BOOT, &field, &payload());
    assert_eq!(hex(&value), RECORD);
    assert_eq!(hex(&counter(&sealer, BOOT, 0xFACE)), COUNTED);
    assert_eq!(hex(&head(&sealer, BOOT, &summary())), HEAD);
    let records = [(field.clone(), Some(value)), (field, None)];
    assert_eq!(hex(&delta(&sealer, BOOT, (1, 300), &records)), DELTA);
}

#[test]
fn nothing_but_sixteen_lower_case_digits_is_a_number() {
    for version in [0, 1, 0xFACE, u64::MAX] {
        assert_eq!(number(digits(version).as_bytes()), Some(version));
    }
    for other in [
        "",
        "fff",
        "FFFFFFFFFFFFFFFF",
        "+fffffffffffffff",
        "-fffffffffffffff",
        "0xffffffffffffff",
        " fffffffffffffff",
        "ffffffffffffffff0",
    ] {
        assert_eq!(number(other.as_bytes()), None, "{other:?}");
    }
}

#[test]
fn what_was_written_is_read() {
    let sealer = sealer("shop");
    let field = field(&sum());
    let value = record(&sealer, BOOT, &field, &payload());
    assert_eq!(
        read_record(&sealer, BOOT, &field, &value),
        Some((sum(), payload()))
    );
    let entry = [counter(&sealer, BOOT, 5), head(&sealer, BOOT, &summary())].concat();
    let read = Entry {
        counter: 5,
        head: summary(),
    };
    assert_eq!(read_entry(&sealer, BOOT, &entry), Some(read));
    let records = [(field.clone(), Some(value)), (field, None)];
    let read = Delta {
        boot: BOOT,
        from: 1,
        to: 2,
        records: vec![(sum(), Some(payload())), (sum(), None)],
    };
    let bytes = delta(&sealer, BOOT, (1, 2), &records);
    assert_eq!(read_delta(&sealer, BOOT, &bytes), Some(read));
}

#[test]
fn nothing_is_read_under_another_key_name_or_place() {
    let ours = sealer("shop");
    let place = field(&sum());
    let value = record(&ours, BOOT, &place, &payload());
    let other = Key {
        instance: InstanceId([2; 16]),
        ..sum()
    };
    assert_eq!(read_record(&sealer("shop2"), BOOT, &place, &value), None);
    assert_eq!(
        read_record(&Sealer::new(&[8; 32], "shop"), BOOT, &place, &value),
        None
    );
    assert_eq!(read_record(&ours, Boot([1; 16]), &place, &value), None);
    assert_eq!(read_record(&ours, BOOT, &field(&other), &value), None);
    let head = head(&ours, BOOT, &summary());
    assert_eq!(read_head(&ours, Boot([1; 16]), &head), None);
    assert_eq!(read_record(&ours, BOOT, &place, &head), None);
    assert_eq!(read_head(&ours, BOOT, &counter(&ours, BOOT, 1)), None);
}

#[test]
fn no_changed_or_missing_byte_goes_unnoticed() {
    let sealer = sealer("shop");
    let field = field(&sum());
    let value = record(&sealer, BOOT, &field, &payload());
    for at in 0..value.len() {
        let mut changed = value.clone();
        changed[at] ^= 1;
        assert_eq!(read_record(&sealer, BOOT, &field, &changed), None);
        assert_eq!(read_record(&sealer, BOOT, &field, &value[..at]), None);
    }
}

/// Made with Python's hmac, to check the seal too.
const RECORD: &str = "01fb2c0101077061796c6f6164612168fe47b77acde250d9821c09b0aa01c0a32387359f8b5ede39\
    fbfa7675b1";
const COUNTED: &str = "30303030303030303030303066616365852be30ea404e33902918511055a0f7e8fe37afc2be9949f\
    1900a76870753210";
const HEAD: &str = "303030303030303030303030313233340102fefeffffffffffffffffffffffffffffff0d0d0d0d0d\
    0d0d0d0d0d0d0d0d0d0d0d0e3139322e302e322e313a3939393988f265c7c50ab432ff162af70ce5\
    c3deb63a856cdc82b637fcd85ce3c675c100";
const DELTA: &str = "0101fb2c010222726f6c653a6d6174682c636d643a73756d001d1d1d1d1d1d1d1d1d1d1d1d1d1d1d\
    1d012d01fb2c0101077061796c6f6164612168fe47b77acde250d9821c09b0aa01c0a32387359f8b\
    5ede39fbfa7675b122726f6c653a6d6174682c636d643a73756d001d1d1d1d1d1d1d1d1d1d1d1d1d\
    1d1d1d00b702a5b8bcd9c36d813f535194f40887408baf1d6ec882c79f970cd47c24da69";
