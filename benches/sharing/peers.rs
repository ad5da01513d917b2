//! Other people's libraries that do the same, each through its own interface. The two of Debian are taken from the system if they are there.

use std::ffi::{CStr, c_int, c_uint, c_void};

/// A library of the system, opened while the bench runs.
pub struct Library(*mut c_void);

impl Library {
    pub fn open(name: &CStr) -> Option<Self> {
        // SAFETY: the name ends with a zero; these libraries do nothing when they are loaded.
        let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW) };
        (!handle.is_null()).then_some(Self(handle))
    }

    /// # Safety
    /// `F` must be a pointer, to what the library has under this name.
    unsafe fn symbol<F: Copy>(&self, name: &CStr) -> F {
        // SAFETY: the handle is open and the name ends with a zero.
        let symbol = unsafe { libc::dlsym(self.0, name.as_ptr()) };
        assert!(!symbol.is_null(), "{name:?} is missing");
        // SAFETY: the caller's promise.
        unsafe { std::mem::transmute_copy(&symbol) }
    }
}

type Context = *mut c_void;

/// Bytes for libgfshare, which leaves their source to the caller: as quick as can be and of no worth, so that only its
/// own work is measured.
unsafe extern "C" fn quick_and_worthless(bytes: *mut u8, len: c_uint) {
    // SAFETY: the library's promise.
    let bytes = unsafe { std::slice::from_raw_parts_mut(bytes, len as usize) };
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    for bytes in bytes.chunks_mut(8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.copy_from_slice(&state.to_le_bytes()[..bytes.len()]);
    }
}

/// libgfshare.
pub struct GfShare {
    init_enc: unsafe extern "C" fn(*const u8, c_uint, u8, c_uint) -> Context,
    init_dec: unsafe extern "C" fn(*const u8, c_uint, c_uint) -> Context,
    set_secret: unsafe extern "C" fn(Context, *const u8),
    get_share: unsafe extern "C" fn(Context, u8, *mut u8),
    give_share: unsafe extern "C" fn(Context, u8, *const u8),
    extract: unsafe extern "C" fn(Context, *mut u8),
    free: unsafe extern "C" fn(Context),
}

impl GfShare {
    pub fn open() -> Option<Self> {
        let library = Library::open(c"libgfshare.so.2")?;
        // SAFETY: the names and types are those of libgfshare.h.
        unsafe {
            let place: *mut unsafe extern "C" fn(*mut u8, c_uint) =
                library.symbol(c"gfshare_fill_rand");
            *place = quick_and_worthless;
            Some(Self {
                init_enc: library.symbol(c"gfshare_ctx_init_enc"),
                init_dec: library.symbol(c"gfshare_ctx_init_dec"),
                set_secret: library.symbol(c"gfshare_ctx_enc_setsecret"),
                get_share: library.symbol(c"gfshare_ctx_enc_getshare"),
                give_share: library.symbol(c"gfshare_ctx_dec_giveshare"),
                extract: library.symbol(c"gfshare_ctx_dec_extract"),
                free: library.symbol(c"gfshare_ctx_free"),
            })
        }
    }

    pub fn split(&self, k: u8, secret: &[u8], shares: &mut [Vec<u8>]) {
        let numbers: Vec<u8> = (1..=shares.len() as u8).collect();
        assert!(shares.iter().all(|share| share.len() == secret.len()));
        // SAFETY: the pointers go to as many bytes as the numbers beside them say, and the context is freed once.
        unsafe {
            let (count, size) = (numbers.len() as c_uint, secret.len() as c_uint);
            let context = (self.init_enc)(numbers.as_ptr(), count, k, size);
            (self.set_secret)(context, secret.as_ptr());
            for (number, share) in (0..).zip(shares) {
                (self.get_share)(context, number, share.as_mut_ptr());
            }
            (self.free)(context);
        }
    }

    /// Joins shares 1 to k.
    pub fn join(&self, shares: &[&[u8]], out: &mut [u8]) {
        let numbers: Vec<u8> = (1..=shares.len() as u8).collect();
        assert!(shares.iter().all(|share| share.len() == out.len()));
        // SAFETY: as above.
        unsafe {
            let (count, size) = (numbers.len() as c_uint, out.len() as c_uint);
            let context = (self.init_dec)(numbers.as_ptr(), count, size);
            for (number, share) in (0..).zip(shares) {
                (self.give_share)(context, number, share.as_ptr());
            }
            (self.extract)(context, out.as_mut_ptr());
            (self.free)(context);
        }
    }
}

/// isa-l's product of a matrix with k inputs, which over the same field joins shares when the matrix is the row of weights.
pub struct IsaL {
    init: unsafe extern "C" fn(c_int, c_int, *const u8, *mut u8),
    encode: unsafe extern "C" fn(c_int, c_int, c_int, *const u8, *const *const u8, *const *mut u8),
}

impl IsaL {
    pub fn open() -> Option<Self> {
        let library = Library::open(c"libisal.so.2")?;
        // SAFETY: the names and types are those of erasure_code.h.
        unsafe {
            Some(Self {
                init: library.symbol(c"ec_init_tables"),
                encode: library.symbol(c"ec_encode_data"),
            })
        }
    }

    pub fn tables(&self, weights: &[u8]) -> Vec<u8> {
        let mut tables = vec![0; 32 * weights.len()];
        // SAFETY: 32 bytes for each weight.
        unsafe {
            (self.init)(
                weights.len() as c_int,
                1,
                weights.as_ptr(),
                tables.as_mut_ptr(),
            )
        };
        tables
    }

    pub fn join(&self, tables: &[u8], shares: &[&[u8]], out: &mut [u8]) {
        assert!(shares.iter().all(|share| share.len() == out.len()));
        assert_eq!(tables.len(), 32 * shares.len());
        let mut inputs = [std::ptr::null(); 16];
        for (input, share) in inputs.iter_mut().zip(shares) {
            *input = share.as_ptr();
        }
        // SAFETY: so many inputs and one output, all of one length.
        unsafe {
            (self.encode)(
                out.len() as c_int,
                shares.len() as c_int,
                1,
                tables.as_ptr(),
                inputs.as_ptr(),
                &out.as_mut_ptr(),
            );
        }
    }
}
