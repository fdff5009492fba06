//! The view against one that looks at everything each time.

use nano_routing::Pattern;
use nano_wire::InstanceId;

use super::{super::record::Kind, *};

const OWN: Boot = Boot([1; 16]);

type Naive = BTreeMap<(Boot, Key), Record>;

fn naive_shown(naive: &Naive, suspect: &BTreeSet<Boot>, key: &Key) -> Option<(Boot, Record)> {
    let rank = |(boot, record): &(Boot, &Record)| {
        let is_fresh = !suspect.contains(boot);
        (record.incarnation, *boot == OWN, is_fresh, *boot)
    };
    let holders = naive.iter().filter(|((_, other), _)| other == key);
    let best = holders
        .map(|((boot, _), record)| (*boot, record))
        .max_by_key(rank);
    best.map(|(boot, record)| (boot, record.clone()))
}

#[test]
fn what_shows_and_what_changed_is_as_if_all_were_looked_at() {
    let mut random = fastrand::Rng::with_seed(1);
    let (mut view, mut naive) = (View::new(OWN), Naive::new());
    let mut suspect = BTreeSet::new();
    let keys: Vec<Key> = (0..6).map(key).collect();
    let mut table = BTreeMap::new();
    for _ in 0..20_000 {
        let boot = Boot([random.u8(1..=4); 16]);
        let key = keys[random.usize(..keys.len())].clone();
        match random.u32(..6) {
            0 | 1 => {
                let record = record(random.u64(..3), random.u8(..2));
                assert_eq!(
                    view.put(boot, &key, &record),
                    naive.insert((boot, key), record)
                );
            }
            2 => {
                let set: Set = keys
                    .iter()
                    .filter(|_| random.bool())
                    .map(|key| (key.clone(), record(1, 1)))
                    .collect();
                naive.retain(|(holder, _), _| *holder != boot);
                naive.extend(
                    set.iter()
                        .map(|(key, record)| ((boot, key.clone()), record.clone())),
                );
                view.replace(boot, set);
            }
            3 | 4 => assert_eq!(view.remove(boot, &key), naive.remove(&(boot, key))),
            _ => {
                let is_suspect = random.bool();
                let differs = if is_suspect {
                    suspect.insert(boot)
                } else {
                    suspect.remove(&boot)
                };
                assert_eq!(view.mark(boot, is_suspect), differs);
            }
        }
        for key in view.take_changed() {
            let shown = view
                .shown(&key)
                .map(|shown| (shown.holder, shown.record.clone()));
            table.insert(key, shown);
        }
        for key in &keys {
            let expected = naive_shown(&naive, &suspect, key);
            assert_eq!(table.get(key).cloned().flatten(), expected);
        }
        for boot in 1..=4 {
            let boot = Boot([boot; 16]);
            let own = naive.iter().filter(|((holder, _), _)| *holder == boot);
            let set: Set = own
                .map(|((_, key), record)| (key.clone(), record.clone()))
                .collect();
            assert_eq!(view.set(boot).map_or(Sum::default(), Set::sum), set.sum());
        }
    }
}

fn key(number: u8) -> Key {
    Key {
        pattern: Pattern::parse(&format!("n:{}", number / 2)).expect("a pattern"),
        instance: InstanceId([number; 16]),
    }
}

fn record(incarnation: u64, payload: u8) -> Record {
    Record {
        incarnation,
        kind: Kind::Session,
        payload: [payload].as_slice().into(),
    }
}
