//! The locks of the registry and the outboxes: `parking_lot`'s, or shuttle's where a model checks the same code. And
//! the one flag that is read without its lock and decides whether somebody waits.
//!
//! With the feature `model` every lock operation is a point at which shuttle may switch threads, so that a test can try
//! the interleavings (`hub/model.rs`). Without it there is nothing here but a re-export. Both sides have the
//! same few methods; poisoning does not exist, because no code panics while it holds one of these locks.

#[cfg(not(feature = "model"))]
pub(crate) use parking_lot::{Mutex, MutexGuard, RwLock};
#[cfg(not(feature = "model"))]
pub(crate) use std::sync::atomic::AtomicBool;

#[cfg(feature = "model")]
pub(crate) use self::model::{Mutex, RwLock};
#[cfg(feature = "model")]
pub(crate) use shuttle::sync::{MutexGuard, atomic::AtomicBool};

#[cfg(feature = "model")]
mod model {
    use shuttle::sync;

    #[derive(Debug, Default)]
    pub(crate) struct Mutex<T>(sync::Mutex<T>);

    #[expect(clippy::expect_used, reason = "models only: a panic in a model is the model's finding")]
    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> sync::MutexGuard<'_, T> {
            self.0.lock().expect("not poisoned")
        }
    }

    #[derive(Debug, Default)]
    pub(crate) struct RwLock<T>(sync::RwLock<T>);

    #[expect(clippy::expect_used, reason = "models only: a panic in a model is the model's finding")]
    impl<T> RwLock<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(sync::RwLock::new(value))
        }

        pub(crate) fn read(&self) -> sync::RwLockReadGuard<'_, T> {
            self.0.read().expect("not poisoned")
        }

        pub(crate) fn write(&self) -> sync::RwLockWriteGuard<'_, T> {
            self.0.write().expect("not poisoned")
        }
    }
}
