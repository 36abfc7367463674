// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! The kinds of indexes there are. What all have in common is in `index`.

pub(crate) mod hnsw;
pub(crate) mod ivf;
mod lsh;
pub(crate) mod pq;
mod vamana;

use crate::index::Build;
use crate::index::Cost;
use crate::index::Costs;
use crate::index::Index;
use crate::index::IndexKind;
use crate::index::IndexParams;
use crate::index::Kind;
use crate::index::Nearest;
use crate::index::Opening;
use crate::index::ReadAt;
use crate::index::Scope;
use crate::index::SearchParams;
use crate::index::Sections;
use vexfs_host::mem::Box;
use vexfs_host::Error;
use vexfs_host::Result;
use vexfs_simd::Query;
use vexfs_simd::Space;

/// What an index is extended from.
pub(crate) struct Base<'a, R: ReadAt> {
    /// The index of fewer rows.
    pub(crate) index: &'a AnyIndex<R>,
    /// The new number of each of its rows, `u32::MAX` for those that are left out.
    pub(crate) map: &'a [u32],
}

/// Declares the kinds: a name, its type, and the numbers that it answers to.
macro_rules! kinds {
    ($($name:ident: $type:ty = $($kind:ident)|+;)*) => {
        /// An open index of any kind. `R` reads what stays on disk.
        pub(crate) enum AnyIndex<R: ReadAt> {
            $($name(Box<$type>),)*
        }

        impl<R: ReadAt> AnyIndex<R> {
            /// Makes the sections of an index, if possible from that of a part of the rows.
            #[inline(never)] // own frame
            pub(crate) fn build(build: &Build<'_>, base: Option<Base<'_, R>>) -> Result<Sections> {
                match build.params.kind() {
                    IndexKind::Flat => Ok(Sections::new()),
                    $($(IndexKind::$kind)|+ => match base {
                        Some(Base { index: Self::$name(index), map }) => <$type as Kind<R>>::extend(build, index, map),
                        _ => <$type as Kind<R>>::build(build),
                    },)*
                }
            }

            /// Whether an index with these parameters can be made for such rows.
            pub(crate) fn check(space: &Space, params: &IndexParams) -> Result {
                match params.kind() {
                    IndexKind::Flat => Ok(()),
                    $($(IndexKind::$kind)|+ => <$type as Kind<R>>::check(space, params),)*
                }
            }

            /// Whether an index with parameters `of` can be extended to one with these.
            pub(crate) fn can_extend(params: &IndexParams, of: &IndexParams) -> bool {
                params.kind() == of.kind()
                    && match params.kind() {
                        IndexKind::Flat => false,
                        $($(IndexKind::$kind)|+ => <$type as Kind<R>>::can_extend(params, of),)*
                    }
            }

            /// The kind of the section that stays on disk.
            pub(crate) fn section_on_demand(params: &IndexParams) -> Option<u32> {
                match params.kind() {
                    IndexKind::Flat => None,
                    $($(IndexKind::$kind)|+ => <$type as Kind<R>>::section_on_demand(params),)*
                }
            }

            /// Opens an index, checking every byte.
            pub(crate) fn open(opening: Opening<'_, R>) -> Result<Self> {
                match opening.params.kind() {
                    IndexKind::Flat => Err(Error::Unsupported("this kind of index")),
                    $($(IndexKind::$kind)|+ => boxed(|| <$type as Kind<R>>::open(opening)).map(Self::$name),)*
                }
            }

            fn index(&self) -> &dyn Index {
                match self {
                    $(Self::$name(index) => &**index,)*
                }
            }
        }
    };
}

kinds! {
    Hnsw: hnsw::Hnsw = Hnsw;
    Ivf: ivf::Ivf = Ivf;
    Pq: pq::PqIndex = Pq | IvfPq;
    Lsh: lsh::Lsh = Lsh;
    Vamana: vamana::Vamana<R> = Vamana;
}

/// What `open` opens, in a frame of its own: indexes are large to be moved about.
#[inline(never)]
fn boxed<T>(open: impl FnOnce() -> Result<T>) -> Result<Box<T>> {
    Box::new(open()?)
}

impl<R: ReadAt> Index for AnyIndex<R> {
    fn search(
        &self,
        scope: &Scope<'_>,
        query: &Query<'_>,
        params: &SearchParams,
        nearest: &mut Nearest,
    ) -> Result<Cost> {
        self.index().search(scope, query, params, nearest)
    }

    fn cost(&self, costs: &Costs, params: &SearchParams, k: usize, matching: u64) -> u64 {
        self.index().cost(costs, params, k, matching)
    }

    fn tuned(&self, costs: &Costs, params: &SearchParams, matching: u64) -> SearchParams {
        self.index().tuned(costs, params, matching)
    }

    fn has_vectors(&self) -> bool {
        self.index().has_vectors()
    }

    fn scan_cost(&self, costs: &Costs, rows: u64) -> u64 {
        self.index().scan_cost(costs, rows)
    }

    fn scan(&self, scope: &Scope<'_>, query: &Query<'_>, nearest: &mut Nearest) -> Result<Cost> {
        self.index().scan(scope, query, nearest)
    }

    fn trim(&self) -> u64 {
        self.index().trim()
    }

    fn memory_bytes(&self) -> u64 {
        self.index().memory_bytes()
    }
}
