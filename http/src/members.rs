//! JSON objects as Go reads them: names in any letter case, of duplicates the last; a null
//! leaves a member as it was. What has another name is passed over.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor},
};

/// Those members of an object that are read.
pub(crate) trait Members: Default {
    /// What the object is, for whoever sent another thing.
    const EXPECTED: &'static str;

    /// Their names.
    const NAMES: &'static [&'static str];

    /// Reads the value under the name of that index.
    fn read<'de, A: MapAccess<'de>>(&mut self, index: usize, map: &mut A) -> Result<(), A::Error>;
}

/// Reads a body that is such an object and nothing else.
pub(crate) fn parse<M: Members>(body: &[u8]) -> Result<M, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let members = deserializer.deserialize_map(Object(PhantomData))?;
    deserializer.end()?;
    Ok(members)
}

/// Reads a member's value.
pub(crate) fn value<'de, T: Deserialize<'de>, A: MapAccess<'de>>(
    member: &mut Option<T>,
    map: &mut A,
) -> Result<(), A::Error> {
    if let Some(value) = map.next_value::<Option<T>>()? {
        *member = Some(value);
    }
    Ok(())
}

struct Object<M>(PhantomData<M>);

impl<'de, M: Members> Visitor<'de> for Object<M> {
    type Value = M;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(M::EXPECTED)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<M, A::Error> {
        let mut members = M::default();
        while let Some(known) = map.next_key_seed(Name(M::NAMES))? {
            match known {
                Some(index) => members.read(index, &mut map)?,
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(members)
    }
}

/// A name becomes its index, if it is one of these.
struct Name(&'static [&'static str]);

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member's name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        let mut known = self.0.iter();
        Ok(known.position(|known| name.eq_ignore_ascii_case(known)))
    }
}
