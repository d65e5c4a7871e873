//! The codes of the system's errors: one table each, so that no code lacks its number, its meaning
//! or its advice.

/// Makes the enumeration `Code` of a domain. What stands first is its documentation, then what to
/// do about a code that this version does not know.
macro_rules! codes {
    (
        $(#[$all:meta])*
        other: $other_advice:literal;
        $($(#[$about:meta])* $name:ident = $number:literal, $meaning:literal, $advice:literal;)+
    ) => {
        $(#[$all])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $($(#[$about])* $name,)+
            /// One that this version does not know.
            Other(isize),
        }

        impl Code {
            /// Every code that is known.
            pub const ALL: &[Code] = &[$(Code::$name),+];

            /// The code of a number.
            pub fn from_number(number: isize) -> Code {
                match number {
                    $($number => Code::$name,)+
                    other => Code::Other(other),
                }
            }

            /// Its number.
            pub fn number(self) -> isize {
                match self {
                    $(Code::$name => $number,)+
                    Code::Other(number) => number,
                }
            }

            /// What it means, in half a sentence.
            pub fn meaning(self) -> &'static str {
                match self {
                    $(Code::$name => $meaning,)+
                    Code::Other(_) => "a reason that this version does not know",
                }
            }

            /// What to do about it, in sentences.
            pub fn advice(self) -> &'static str {
                match self {
                    $(Code::$name => $advice,)+
                    Code::Other(_) => $other_advice,
                }
            }
        }

        impl std::fmt::Display for Code {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{} (code {})", self.meaning(), self.number())
            }
        }
    };
}

pub(crate) use codes;
