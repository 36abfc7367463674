// SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note
//! Numbers that mean one of a few things, as enumerations. A number from outside becomes one once, and is valid ever
//! after.

/// Declares the enumeration of some numbers: its variants take their values from the ABI's constants. `$what` is what a
/// message calls one of them.
macro_rules! codes {
    (
        $(#[$doc:meta])*
        pub enum $type:ident: $what:literal {
            $($(#[$variant_doc:meta])* $variant:ident = $code:path, $name:literal;)*
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u32)]
        pub enum $type {
            $($(#[$variant_doc])* $variant = $code,)*
        }

        impl $type {
            /// All of them.
            pub const ALL: &'static [$type] = &[$($type::$variant,)*];

            /// Their names, in the same order.
            pub const NAMES: &'static [&'static str] = &[$($name,)*];

            /// Its name.
            pub const fn name(self) -> &'static str {
                match self {
                    $($type::$variant => $name,)*
                }
            }

            /// Its number in the ABI and on disk.
            pub const fn code(self) -> u32 {
                self as u32
            }

            /// What has this number; `None` if this version does not know it.
            pub fn from_code(code: u32) -> Option<Self> {
                Self::ALL.iter().copied().find(|it| it.code() == code)
            }
        }

        impl core::fmt::Display for $type {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.pad(self.name())
            }
        }

        impl core::str::FromStr for $type {
            type Err = $crate::UnknownName;

            fn from_str(name: &str) -> Result<Self, $crate::UnknownName> {
                let found = Self::ALL.iter().copied().find(|it| it.name() == name);
                found.ok_or($crate::UnknownName {
                    what: $what,
                    names: Self::NAMES,
                })
            }
        }

        #[cfg(feature = "serde")]
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.name())
            }
        }
    };
}
pub(crate) use codes;

/// A name that nothing has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownName {
    /// What was wanted: "metric".
    pub what: &'static str,
    /// The names there are.
    pub names: &'static [&'static str],
}

impl core::fmt::Display for UnknownName {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "no {}; there are", self.what)?;
        for (i, name) in self.names.iter().enumerate() {
            write!(f, "{}{name}", if i == 0 { " " } else { ", " })?;
        }
        Ok(())
    }
}

impl core::error::Error for UnknownName {}

#[cfg(test)]
mod tests {
    use crate::Choice;
    use crate::Codes;
    use crate::Element;
    use crate::IndexKind;
    use crate::Metric;

    extern crate std;
    use std::string::ToString;

    #[test]
    fn names_and_numbers_are_read_back() {
        macro_rules! check {
            ($($type:ident)*) => {
                $(for (it, name) in $type::ALL.iter().zip($type::NAMES) {
                    assert_eq!(name.parse::<$type>(), Ok(*it));
                    assert_eq!((it.name(), it.to_string().as_str()), (*name, *name));
                    assert_eq!($type::from_code(it.code()), Some(*it));
                    assert_eq!($type::from_code(it.code() + 100), None);
                })*
            };
        }
        check!(Element Metric IndexKind Codes Choice);
        let error = "l3".parse::<Metric>().unwrap_err().to_string();
        assert_eq!(error, "no metric; there are l2, cosine, ip, hamming");
    }
}
