//! The command calls no elementary function of the system, whose last bits differ from one system to the next.
#![cfg(all(feature = "cli", target_os = "linux", target_pointer_width = "64", target_endian = "little"))]

/// What a 64-bit ELF file leaves to other libraries.
fn imported(file: &[u8]) -> Vec<String> {
    let word = |at: usize| u64::from_le_bytes(file[at..at + 8].try_into().unwrap()) as usize;
    let half = |at: usize| u16::from_le_bytes(file[at..at + 2].try_into().unwrap()) as usize;
    let int = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap()) as usize;
    assert_eq!(&file[..5], b"\x7fELF\x02");
    let (sections, size, count) = (word(0x28), half(0x3a), half(0x3c));
    let section = |i: usize| sections + i * size;
    let dynamic_symbols = 11;
    let table = (0..count).map(section).find(|at| int(at + 4) == dynamic_symbols).expect("a table of dynamic symbols");
    let (symbols, length, names) = (word(table + 0x18), word(table + 0x20), word(section(int(table + 0x28)) + 0x18));
    (symbols..symbols + length)
        .step_by(24)
        .filter(|at| half(at + 6) == 0)
        .map(|at| {
            let name = &file[names + int(at)..];
            String::from_utf8_lossy(&name[..name.iter().position(|byte| *byte == 0).unwrap()]).into_owned()
        })
        .collect()
}

/// Functions of the C library that are not fixed to the last bit.
const ELEMENTARY: [&str; 27] = [
    "acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "cbrt", "cos", "cosh", "erf", "erfc", "exp", "exp10",
    "exp2", "expm1", "hypot", "lgamma", "log", "log10", "log1p", "log2", "pow", "sin", "sincos", "sinh", "tan",
];

#[test]
fn elementary_functions_are_our_own() {
    let file = std::fs::read(env!("CARGO_BIN_EXE_cnf")).unwrap();
    let imported = imported(&file);
    // The list is read: what every program takes from the system is in it.
    assert!(imported.iter().any(|name| name == "malloc" || name == "memcpy"), "{imported:?}");
    let elementary = |name: &str| {
        let plain = name.strip_suffix('f').filter(|_| name != "erf").unwrap_or(name);
        ELEMENTARY.contains(&plain) || plain.starts_with("tanh") || ELEMENTARY.contains(&name)
    };
    let found: Vec<_> = imported.iter().filter(|name| elementary(name)).collect();
    assert!(found.is_empty(), "{found:?}");
}
