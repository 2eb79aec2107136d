//! One declaration per table: `settings!` makes the struct, its reader and its listing, and the
//! rows that the example, the schema, the hints and the report of a reload are made from.

/// Declares a table: a struct whose fields are the keys.
///
/// The doc comment of the struct introduces the table to an operator, and that of each field explains
/// its key; the example and the schema have both in the same words. After `=` stands what else there
/// is to say about a key, begun by a function of
/// [`config::declare::rows`](crate::config::declare::rows), all of
/// which are in scope there. This is the one place that names the key.
///
/// ```
/// # use std::time::Duration;
/// broker::settings! {
///     /// Signing in with the account of the intranet.
///     pub struct Intranet {
///         /// The address of the directory.
///         pub url: String = address().needed().example(r#""https://directory.example""#),
///         /// How long the directory may take to answer.
///         pub timeout: Duration = duration(r#""5s""#),
///     }
/// }
/// ```
#[macro_export]
macro_rules! settings {
    (
        $(#[doc = $about:expr])*
        $vis:vis struct $name:ident {
            $(
                $(#[doc = $doc:expr])*
                $field_vis:vis $field:ident : $type:ty = $row:expr
            ),* $(,)?
        }
    ) => {
        $(#[doc = $about])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        $vis struct $name {
            $( $(#[doc = $doc])* $field_vis $field: $type, )*
        }

        impl $crate::config::declare::Table for $name {
            const DECLARED: $crate::config::declare::Declared = {
                const KEYS: &[$crate::config::declare::Key] = &[$({
                    let row: $crate::config::declare::Row<$type> = {
                        #[allow(unused_imports, reason = "a row may begin in another way")]
                        use $crate::config::declare::rows::*;
                        $row
                    };
                    let name = stringify!($field);
                    row.named(name, concat!(stringify!($field), "_file"), &[$($doc),*])
                }),*];
                $crate::config::declare::declared(&[$($about),*], KEYS)
            };

            fn read(
                reader: &mut $crate::config::declare::Reader<'_>,
                at: &$crate::config::declare::KeyPath,
            ) -> Self {
                let keys = &mut <Self as $crate::config::declare::Table>::DECLARED.iter();
                let _ = (&reader, at, &keys);
                Self { $( $field: $crate::config::declare::read_next(reader, at, keys), )* }
            }

            fn list(
                &self,
                at: &$crate::config::declare::KeyPath,
                into: &mut Vec<$crate::config::declare::Entry>,
            ) {
                let keys = &mut <Self as $crate::config::declare::Table>::DECLARED.iter();
                let _ = (at, &keys, &into);
                $( $crate::config::declare::list_next(&self.$field, at, keys, into); )*
            }

            fn adopt(&mut self, new: &Self) {
                let keys = &mut <Self as $crate::config::declare::Table>::DECLARED.iter();
                let _ = (&new, &keys);
                $( $crate::config::declare::adopt_next(&mut self.$field, &new.$field, keys); )*
            }
        }

        impl $crate::config::declare::Setting for $name {
            fn read(
                reader: &mut $crate::config::declare::Reader<'_>,
                path: &$crate::config::declare::KeyPath,
                _: &$crate::config::declare::Key,
            ) -> Self {
                <Self as $crate::config::declare::Table>::read(reader, path)
            }

            fn list(
                &self,
                path: &$crate::config::declare::KeyPath,
                _: &$crate::config::declare::Key,
                into: &mut Vec<$crate::config::declare::Entry>,
            ) {
                <Self as $crate::config::declare::Table>::list(self, path, into);
            }

            fn adopt(&mut self, new: &Self, _: &$crate::config::declare::Key) {
                <Self as $crate::config::declare::Table>::adopt(self, new);
            }
        }
    };
}
