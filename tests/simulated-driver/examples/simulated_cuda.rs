//! The simulated driver as a shared library: `CUDA_LOADER_LIBRARY=…/libsimulated_cuda.so convt-bn-gap --device cuda …`.
//!
//! The variable `SIMULATED_CUDA` says what machine it is: see `simulated_driver::Machine`.

macro_rules! export {
    ($($function:ident($($argument:ident: $type:ty),*);)*) => { $(
        /// The driver's function of that name.
        ///
        /// # Safety
        /// As CUDA's header says.
        #[unsafe(no_mangle)]
        #[allow(non_snake_case, clippy::too_many_arguments)]
        pub unsafe extern "C" fn $function($($argument: $type),*) -> u32 {
            // SAFETY: the caller's promise, passed on.
            unsafe { simulated_driver::functions::$function($($argument),*) }
        }
    )* };
}
simulated_driver::for_each_function!(export);
