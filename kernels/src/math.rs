//! Elementary functions that give the same bits on every machine.
//!
//! The standard library takes exp, ln, tanh, … from the system's libm, and two versions of a libm differ in the last
//! bit. These are computed by additions, multiplications and divisions alone, which IEEE 754 fixes, without fused ones.
//! exp, ln and the power go by tables (Tang 1989, 1990): an argument is a table's point and a small rest, and a short
//! series does the rest; the power carries the logarithm in two numbers. Everything else follows from these, or is the
//! `libm` crate's, which is written in Rust.
//!
//! Within two units in the last place of the `libm` crate's, tanh within four.

/// 2^(i/64) in two numbers.
const POWERS: [(u64, u64); 64] = [
    (0x3ff0000000000000, 0x0000000000000000),
    (0x3ff02c9a3e778061, 0xbc719083535b085d),
    (0x3ff059b0d3158574, 0x3c8d73e2a475b465),
    (0x3ff0874518759bc8, 0x3c6186be4bb284ff),
    (0x3ff0b5586cf9890f, 0x3c98a62e4adc610b),
    (0x3ff0e3ec32d3d1a2, 0x3c403a1727c57b53),
    (0x3ff11301d0125b51, 0xbc96c51039449b3a),
    (0x3ff1429aaea92de0, 0xbc932fbf9af1369e),
    (0x3ff172b83c7d517b, 0xbc819041b9d78a76),
    (0x3ff1a35beb6fcb75, 0x3c8e5b4c7b4968e4),
    (0x3ff1d4873168b9aa, 0x3c9e016e00a2643c),
    (0x3ff2063b88628cd6, 0x3c8dc775814a8495),
    (0x3ff2387a6e756238, 0x3c99b07eb6c70573),
    (0x3ff26b4565e27cdd, 0x3c82bd339940e9d9),
    (0x3ff29e9df51fdee1, 0x3c8612e8afad1255),
    (0x3ff2d285a6e4030b, 0x3c90024754db41d5),
    (0x3ff306fe0a31b715, 0x3c86f46ad23182e4),
    (0x3ff33c08b26416ff, 0x3c932721843659a6),
    (0x3ff371a7373aa9cb, 0xbc963aeabf42eae2),
    (0x3ff3a7db34e59ff7, 0xbc75e436d661f5e3),
    (0x3ff3dea64c123422, 0x3c8ada0911f09ebc),
    (0x3ff4160a21f72e2a, 0xbc5ef3691c309278),
    (0x3ff44e086061892d, 0x3c489b7a04ef80d0),
    (0x3ff486a2b5c13cd0, 0x3c73c1a3b69062f0),
    (0x3ff4bfdad5362a27, 0x3c7d4397afec42e2),
    (0x3ff4f9b2769d2ca7, 0xbc94b309d25957e3),
    (0x3ff5342b569d4f82, 0xbc807abe1db13cad),
    (0x3ff56f4736b527da, 0x3c99bb2c011d93ad),
    (0x3ff5ab07dd485429, 0x3c96324c054647ad),
    (0x3ff5e76f15ad2148, 0x3c9ba6f93080e65e),
    (0x3ff6247eb03a5585, 0xbc9383c17e40b497),
    (0x3ff6623882552225, 0xbc9bb60987591c34),
    (0x3ff6a09e667f3bcd, 0xbc9bdd3413b26456),
    (0x3ff6dfb23c651a2f, 0xbc6bbe3a683c88ab),
    (0x3ff71f75e8ec5f74, 0xbc816e4786887a99),
    (0x3ff75feb564267c9, 0xbc90245957316dd3),
    (0x3ff7a11473eb0187, 0xbc841577ee04992f),
    (0x3ff7e2f336cf4e62, 0x3c705d02ba15797e),
    (0x3ff82589994cce13, 0xbc9d4c1dd41532d8),
    (0x3ff868d99b4492ed, 0xbc9fc6f89bd4f6ba),
    (0x3ff8ace5422aa0db, 0x3c96e9f156864b27),
    (0x3ff8f1ae99157736, 0x3c85cc13a2e3976c),
    (0x3ff93737b0cdc5e5, 0xbc675fc781b57ebc),
    (0x3ff97d829fde4e50, 0xbc9d185b7c1b85d1),
    (0x3ff9c49182a3f090, 0x3c7c7c46b071f2be),
    (0x3ffa0c667b5de565, 0xbc9359495d1cd533),
    (0x3ffa5503b23e255d, 0xbc9d2f6edb8d41e1),
    (0x3ffa9e6b5579fdbf, 0x3c90fac90ef7fd31),
    (0x3ffae89f995ad3ad, 0x3c97a1cd345dcc81),
    (0x3ffb33a2b84f15fb, 0xbc62805e3084d708),
    (0x3ffb7f76f2fb5e47, 0xbc75584f7e54ac3b),
    (0x3ffbcc1e904bc1d2, 0x3c823dd07a2d9e84),
    (0x3ffc199bdd85529c, 0x3c811065895048dd),
    (0x3ffc67f12e57d14b, 0x3c92884dff483cad),
    (0x3ffcb720dcef9069, 0x3c7503cbd1e949db),
    (0x3ffd072d4a07897c, 0xbc9cbc3743797a9c),
    (0x3ffd5818dcfba487, 0x3c82ed02d75b3707),
    (0x3ffda9e603db3285, 0x3c9c2300696db532),
    (0x3ffdfc97337b9b5f, 0xbc91a5cd4f184b5c),
    (0x3ffe502ee78b3ff6, 0x3c839e8980a9cc8f),
    (0x3ffea4afa2a490da, 0xbc9e9c23179c2893),
    (0x3ffefa1bee615a27, 0x3c9dc7f486a4b6b0),
    (0x3fff50765b6e4540, 0x3c99d3e12dd8a18b),
    (0x3fffa7c1819e90d8, 0x3c874853f3a5931e),
];

/// For the i-th of 128 parts of [0.6875, 1.375): a point c in it (1 for both parts that meet at 1), 1/c, and ln c in two
/// numbers.
const LOGS: [(u64, u64, u64, u64); 128] = [
    (0x3fe6100000000000, 0x3ff734f0c541fe8d, 0xbfd7cc7f7db46a0e, 0x3c78438023cdc3d3),
    (0x3fe6300000000000, 0x3ff713786d9c7c09, 0xbfd76feecb947175, 0x3c7118d9eb4ea362),
    (0x3fe6500000000000, 0x3ff6f26016f26017, 0xbfd713e33a46a17c, 0x3c79367a05ae38d3),
    (0x3fe6700000000000, 0x3ff6d1a62681c861, 0xbfd6b85b4cffa3fd, 0x3c68af2c8dafcb08),
    (0x3fe6900000000000, 0x3ff6b1490aa31a3d, 0xbfd65d558d4ce00b, 0x3c77605a4748480a),
    (0x3fe6b00000000000, 0x3ff691473a88d0c0, 0xbfd602d08af091ec, 0x3c56e8920c09b73f),
    (0x3fe6d00000000000, 0x3ff6719f3601671a, 0xbfd5a8cadbbedfa1, 0x3c5e6c2bdfb3e037),
    (0x3fe6f00000000000, 0x3ff6524f853b4aa3, 0xbfd54f431b7be1a9, 0x3c7aacfdbbdab914),
    (0x3fe7100000000000, 0x3ff63356b88ac0de, 0xbfd4f637ebba9810, 0x3c758cb3124b9245),
    (0x3fe7300000000000, 0x3ff614b36831ae94, 0xbfd49da7f3bcc41f, 0x3c69964a168ccaca),
    (0x3fe7500000000000, 0x3ff5f66434292dfc, 0xbfd44591e0539f49, 0x3c72b125247b0fa5),
    (0x3fe7700000000000, 0x3ff5d867c3ece2a5, 0xbfd3edf463c1683e, 0xbc783d680d3c1084),
    (0x3fe7900000000000, 0x3ff5babcc647fa91, 0xbfd396ce359bbf54, 0x3c5ce2b31b31e8b0),
    (0x3fe7b00000000000, 0x3ff59d61f123ccaa, 0xbfd3401e12aecba1, 0x3c5cd55b8a4746c0),
    (0x3fe7d00000000000, 0x3ff5805601580560, 0xbfd2e9e2bce12286, 0xbc18251a3b83d97a),
    (0x3fe7f00000000000, 0x3ff56397ba7c52e2, 0xbfd2941afb186b7c, 0x3c6856e61c515740),
    (0x3fe8100000000000, 0x3ff54725e6bb82fe, 0xbfd23ec5991eba49, 0xbc3bb75d1addf870),
    (0x3fe8300000000000, 0x3ff52aff56a8054b, 0xbfd1e9e1678899f4, 0xbc7512c3749a1e4e),
    (0x3fe8500000000000, 0x3ff50f22e111c4c5, 0xbfd1956d3b9bc2fa, 0xbc77b9d68d50a15d),
    (0x3fe8700000000000, 0x3ff4f38f62dd4c9b, 0xbfd14167ef367783, 0xbc1e0936abd4fa6e),
    (0x3fe8900000000000, 0x3ff4d843bedc2c4c, 0xbfd0edd060b78081, 0x3c692b49ef282b09),
    (0x3fe8b00000000000, 0x3ff4bd3edda68fe1, 0xbfd09aa572e6c6d4, 0xbc643c2e68684d53),
    (0x3fe8d00000000000, 0x3ff4a27fad76014a, 0xbfd047e60cde83b8, 0x3c70779634061cbc),
    (0x3fe8f00000000000, 0x3ff4880522014880, 0xbfcfeb2233ea07cd, 0xbc28de00938b4c40),
    (0x3fe9100000000000, 0x3ff46dce34596066, 0xbfcf474b134df229, 0x3c527c77ded76aad),
    (0x3fe9300000000000, 0x3ff453d9e2c776ca, 0xbfcea4449f04aaf5, 0x3c6d33919ab94074),
    (0x3fe9500000000000, 0x3ff43a2730abee4d, 0xbfce020cc6235ab5, 0xbc5fea48dd7b81d1),
    (0x3fe9700000000000, 0x3ff420b5265e5951, 0xbfcd60a17f903515, 0x3c6c0df841a71b7a),
    (0x3fe9900000000000, 0x3ff40782d10e6566, 0xbfccc000c9db3c52, 0xbc653d154280394f),
    (0x3fe9b00000000000, 0x3ff3ee8f42a5af07, 0xbfcc2028ab17f9b4, 0xbc6f11aa3853a5f1),
    (0x3fe9d00000000000, 0x3ff3d5d991aa75c6, 0xbfcb811730b823d2, 0xbc3a0ee735d9f0ec),
    (0x3fe9f00000000000, 0x3ff3bd60d9232955, 0xbfcae2ca6f672bd4, 0xbc6ab5ca9eaa088a),
    (0x3fea100000000000, 0x3ff3a524387ac822, 0xbfca454082e6ab05, 0xbc5df207dc5c34c6),
    (0x3fea300000000000, 0x3ff38d22d366088e, 0xbfc9a8778debaa38, 0xbc6f47dfd871f87f),
    (0x3fea500000000000, 0x3ff3755bd1c945ee, 0xbfc90c6db9fcbcd9, 0xbc6054473941ad99),
    (0x3fea700000000000, 0x3ff35dce5f9f2af8, 0xbfc871213750e994, 0xbc6d685f35eea2a0),
    (0x3fea900000000000, 0x3ff34679ace01346, 0xbfc7d6903caf5ad0, 0x3c4ac5f0c075b847),
    (0x3feab00000000000, 0x3ff32f5ced6a1dfa, 0xbfc73cb9074fd14d, 0x3c6521a000b4cf01),
    (0x3fead00000000000, 0x3ff3187758e9ebb6, 0xbfc6a399dabbd383, 0xbc696332bd4b341f),
    (0x3feaf00000000000, 0x3ff301c82ac40260, 0xbfc60b3100b09476, 0x3c55b2623e05016b),
    (0x3feb100000000000, 0x3ff2eb4ea1fed14b, 0xbfc5737cc9018cdd, 0xbc64f4d710fec38e),
    (0x3feb300000000000, 0x3ff2d50a012d50a0, 0xbfc4dc7b897bc1c8, 0x3c6927d47803c5f4),
    (0x3feb500000000000, 0x3ff2bef98e5a3711, 0xbfc4462b9dc9b3dc, 0x3c5629c46c186385),
    (0x3feb700000000000, 0x3ff2a91c92f3c105, 0xbfc3b08b6757f2a9, 0xbc370d6cdf05266c),
    (0x3feb900000000000, 0x3ff293725bb804a5, 0xbfc31b994d3a4f85, 0x3c5c4716bdfc0cc9),
    (0x3febb00000000000, 0x3ff27dfa38a1ce4d, 0xbfc28753bc11aba5, 0x3c66394d9fa33311),
    (0x3febd00000000000, 0x3ff268b37cd60127, 0xbfc1f3b925f25d41, 0xbc462c9ef939ac5d),
    (0x3febf00000000000, 0x3ff2539d7e9177b2, 0xbfc160c8024b27b1, 0x3c62d56ff61c2bfb),
    (0x3fec100000000000, 0x3ff23eb79717605b, 0xbfc0ce7ecdccc28d, 0x3c6692a0055dc959),
    (0x3fec300000000000, 0x3ff22a0122a0122a, 0xbfc03cdc0a51ec0d, 0xbc639e2d3f8b7d10),
    (0x3fec500000000000, 0x3ff21579804855e6, 0xbfbf57bc7d9005db, 0x3c59361574fb24e2),
    (0x3fec700000000000, 0x3ff2012012012012, 0xbfbe3707ee30487b, 0xbc509ccecd579d99),
    (0x3fec900000000000, 0x3ff1ecf43c7fb84c, 0xbfbd179788219364, 0xbc49daf7df76ad2a),
    (0x3fecb00000000000, 0x3ff1d8f5672e4abd, 0xbfbbf968769fca11, 0x3c4cdc9f6f5f38c7),
    (0x3fecd00000000000, 0x3ff1c522fc1ce059, 0xbfbadc77ee5aea8c, 0xbc537d8f39bee659),
    (0x3fecf00000000000, 0x3ff1b17c67f2bae3, 0xbfb9c0c32d4d2548, 0xbc4fb0be3ccc1532),
    (0x3fed100000000000, 0x3ff19e0119e0119e, 0xbfb8a6477a91dc29, 0x3c4fa83214904842),
    (0x3fed300000000000, 0x3ff18ab083902bdb, 0xbfb78d02263d82d3, 0xbc5abca5b4fdb880),
    (0x3fed500000000000, 0x3ff1778a191bd684, 0xbfb674f089365a7a, 0x3c59acd8b33f8fdc),
    (0x3fed700000000000, 0x3ff1648d50fc3201, 0xbfb55e10050e0384, 0x3c545f9d61c68c1b),
    (0x3fed900000000000, 0x3ff151b9a3fdd5c9, 0xbfb4485e03dbdfad, 0xbc51ba349aadbc6e),
    (0x3fedb00000000000, 0x3ff13f0e8d344724, 0xbfb333d7f8183f4b, 0xbc5a92afc8ef70b1),
    (0x3fedd00000000000, 0x3ff12c8b89edc0ac, 0xbfb2207b5c78549e, 0x3c5cc0fbce104eaa),
    (0x3fedf00000000000, 0x3ff11a3019a74826, 0xbfb10e45b3cae831, 0x3c5a4a128d192686),
    (0x3fee100000000000, 0x3ff107fbbe011080, 0xbfaffa6911ab9301, 0x3c4cd9f1f95c2eed),
    (0x3fee300000000000, 0x3ff0f5edfab325a2, 0xbfadda8adc67ee4e, 0xbc44e6c986f44c55),
    (0x3fee500000000000, 0x3ff0e40655826011, 0xbfabbcebfc68f420, 0xbc3e5cf3a0f56f72),
    (0x3fee700000000000, 0x3ff0d24456359e3a, 0xbfa9a187b573de7c, 0x3c4727626c86b3ab),
    (0x3fee900000000000, 0x3ff0c0a7868b4171, 0xbfa788595a3577ba, 0xbc4e5ef898b67923),
    (0x3feeb00000000000, 0x3ff0af2f722eecb5, 0xbfa5715c4c03ceef, 0x3c2bbf88ec501b56),
    (0x3feed00000000000, 0x3ff09ddba6af8360, 0xbfa35c8bfaa1306b, 0x3c050830a65543a4),
    (0x3feef00000000000, 0x3ff08cabb37565e2, 0xbfa149e3e4005a8d, 0x3c253482d1f9d7d7),
    (0x3fef100000000000, 0x3ff07b9f29b8eae2, 0xbf9e72bf2813ce51, 0xbc375b44595cab18),
    (0x3fef300000000000, 0x3ff06ab59c7912fb, 0xbf9a55f548c5c43f, 0xbc1ec1a5f86d41f9),
    (0x3fef500000000000, 0x3ff059eea0727586, 0xbf963d6178690bd6, 0x3bf8ed4d357c9c97),
    (0x3fef700000000000, 0x3ff04949cc1664c5, 0xbf9228fb1fea2e28, 0x3c2cd7b66e01c26d),
    (0x3fef900000000000, 0x3ff038c6b78247fc, 0xbf8c317384c75f06, 0xbc2806208c04c220),
    (0x3fefb00000000000, 0x3ff02864fc7729e9, 0xbf841929f96832f0, 0x3c2c5517f64bc223),
    (0x3fefd00000000000, 0x3ff0182436517a37, 0xbf78121214586b54, 0xbbec14b9f9377a1d),
    (0x3ff0000000000000, 0x3ff0000000000000, 0x0000000000000000, 0x0000000000000000),
    (0x3ff0000000000000, 0x3ff0000000000000, 0x0000000000000000, 0x0000000000000000),
    (0x3ff0300000000000, 0x3fefa11caa01fa12, 0x3f87dc475f810a77, 0xbc116d7687d3df21),
    (0x3ff0500000000000, 0x3fef6310aca0dbb5, 0x3f93cea44346a575, 0xbc10cb5a902b3a1c),
    (0x3ff0700000000000, 0x3fef25f644230ab5, 0x3f9b9fc027af9198, 0xbbf0ae69229dc868),
    (0x3ff0900000000000, 0x3feee9c7f8458e02, 0x3fa1b0d98923d980, 0xbc3e9ae889bac481),
    (0x3ff0b00000000000, 0x3feeae807aba01eb, 0x3fa58a5bafc8e4d5, 0xbc4ce55c2b4e2b72),
    (0x3ff0d00000000000, 0x3fee741aa59750e4, 0x3fa95c830ec8e3eb, 0x3c4f5a0e80520bf2),
    (0x3ff0f00000000000, 0x3fee3a9179dc1a73, 0x3fad276b8adb0b52, 0x3c21e3c53257fd47),
    (0x3ff1100000000000, 0x3fee01e01e01e01e, 0x3fb075983598e471, 0x3c480da5333c45b8),
    (0x3ff1300000000000, 0x3fedca01dca01dca, 0x3fb253f62f0a1417, 0xbc1c125963fc4cfd),
    (0x3ff1500000000000, 0x3fed92f2231e7f8a, 0x3fb42edcbea646f0, 0x3c4ddd4f935996c9),
    (0x3ff1700000000000, 0x3fed5cac807572b2, 0x3fb60658a93750c4, 0xbc5388458ec21b6a),
    (0x3ff1900000000000, 0x3fed272ca3fc5b1a, 0x3fb7da766d7b12cd, 0xbc5eeedfcdd94131),
    (0x3ff1b00000000000, 0x3fecf26e5c44bfc6, 0x3fb9ab42462033ad, 0xbc42099e1c184e8e),
    (0x3ff1d00000000000, 0x3fecbe6d9601cbe7, 0x3fbb78c82bb0eda1, 0x3c20878cf0327e21),
    (0x3ff1f00000000000, 0x3fec8b265afb8a42, 0x3fbd4313d66cb35d, 0x3c5790dd951d90fa),
    (0x3ff2100000000000, 0x3fec5894d10d4986, 0x3fbf0a30c01162a6, 0x3c585f325c5bbacd),
    (0x3ff2300000000000, 0x3fec26b5392ea01c, 0x3fc0671512ca596e, 0x3c550c647eb86499),
    (0x3ff2500000000000, 0x3febf583ee868d8b, 0x3fc14785846742ac, 0x3c6a28813e3a7f07),
    (0x3ff2700000000000, 0x3febc4fd65883e7b, 0x3fc2266f190a5acb, 0x3c6f547bf1809e88),
    (0x3ff2900000000000, 0x3feb951e2b18ff23, 0x3fc303d718e47fd3, 0xbc06b9c7d96091fa),
    (0x3ff2b00000000000, 0x3feb65e2e3beee05, 0x3fc3dfc2b0ecc62a, 0xbc5ab3a8e7d81017),
    (0x3ff2d00000000000, 0x3feb37484ad806ce, 0x3fc4ba36f39a55e5, 0x3c668981bcc36756),
    (0x3ff2f00000000000, 0x3feb094b31d922a4, 0x3fc59338d9982086, 0xbc565d22aa8ad7cf),
    (0x3ff3100000000000, 0x3feadbe87f94905e, 0x3fc66acd4272ad51, 0xbc50900e4e1ea8b2),
    (0x3ff3300000000000, 0x3feaaf1d2f87ebfd, 0x3fc740f8f54037a5, 0xbc5b264062a84cdb),
    (0x3ff3500000000000, 0x3fea82e65130e159, 0x3fc815c0a14357eb, 0xbc54be48073a0564),
    (0x3ff3700000000000, 0x3fea574107688a4a, 0x3fc8e928de886d41, 0xbc6569d851a56770),
    (0x3ff3900000000000, 0x3fea2c2a87c51ca0, 0x3fc9bb362e7dfb83, 0x3c6575e31f003e0c),
    (0x3ff3b00000000000, 0x3fea01a01a01a01a, 0x3fca8becfc882f19, 0xbc5e8c37918c39eb),
    (0x3ff3d00000000000, 0x3fe9d79f176b682d, 0x3fcb5b519e8fb5a4, 0x3c6ba27fdc19e1a0),
    (0x3ff3f00000000000, 0x3fe9ae24ea5510da, 0x3fcc2968558c18c1, 0xbc673dee38a3fb6b),
    (0x3ff4100000000000, 0x3fe9852f0d8ec0ff, 0x3fccf6354e09c5dc, 0x3c6239a07d55b695),
    (0x3ff4300000000000, 0x3fe95cbb0be377ae, 0x3fcdc1bca0abec7d, 0x3c6834c51998b6fc),
    (0x3ff4500000000000, 0x3fe934c67f9b2ce6, 0x3fce8c0252aa5a60, 0xbc46e03a39bfc89b),
    (0x3ff4700000000000, 0x3fe90d4f120190d5, 0x3fcf550a564b7b37, 0x3c2c5f6dfd018c37),
    (0x3ff4900000000000, 0x3fe8e6527af1373f, 0x3fd00e6c45ad501d, 0xbc6cb9568ff6fead),
    (0x3ff4b00000000000, 0x3fe8bfce8062ff3a, 0x3fd071b85fcd590d, 0x3c5d1707f97bde80),
    (0x3ff4d00000000000, 0x3fe899c0f601899c, 0x3fd0d46b579ab74b, 0x3c603ec81c3cbd92),
    (0x3ff4f00000000000, 0x3fe87427bcc092b9, 0x3fd136870293a8b0, 0x3c77b66298edd24a),
    (0x3ff5100000000000, 0x3fe84f00c2780614, 0x3fd1980d2dd4236f, 0x3c79d3d1b0e4d147),
    (0x3ff5300000000000, 0x3fe82a4a0182a4a0, 0x3fd1f8ff9e48a2f3, 0xbc7c9fdf9a0c4b07),
    (0x3ff5500000000000, 0x3fe8060180601806, 0x3fd2596010df763a, 0xbc50f76c57075e9e),
    (0x3ff5700000000000, 0x3fe7e225515a4f1d, 0x3fd2b9303ab89d25, 0xbc7896b5fd852ad4),
    (0x3ff5900000000000, 0x3fe7beb3922e017c, 0x3fd31871c9544185, 0xbc351acc4c09b379),
    (0x3ff5b00000000000, 0x3fe79baa6bb6398b, 0x3fd3772662bfd85b, 0xbc4b5629d8117de7),
    (0x3ff5d00000000000, 0x3fe77908119ac60d, 0x3fd3d54fa5c1f710, 0xbc7e3265c6a1c98d),
    (0x3ff5f00000000000, 0x3fe756cac201756d, 0x3fd432ef2a04e814, 0xbc729931715ac903),
];

const fn f(bits: u64) -> f64 {
    f64::from_bits(bits)
}

/// ln 2/64 in two numbers, the first of 32 bits: its products with whole numbers up to 2²⁰ are exact.
const STEP: (f64, f64) = (f(0x3f86_2e42_fee0_0000), f(0x3d8a_39ef_3579_3c76));
/// ln 2 in two numbers, the first of 40 bits.
const LN2: (f64, f64) = (f(0x3fe6_2e42_fefa_2000), f(0x3d69_ef35_793c_7673));
/// 64/ln 2.
const STEPS: f64 = f(0x4057_1547_652b_82fe);
/// Added and taken away again, it rounds to a whole number.
const ROUND: f64 = 6_755_399_441_055_744.0;

/// The sum of two numbers, and what its rounding lost.  Ref: Knuth, TAOCP 4.2.2.
#[inline(always)]
fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let s = a + b;
    let v = s - a;
    (s, (a - (s - v)) + (b - v))
}

/// The product of two numbers, and what its rounding lost.  Ref: Dekker (1971).
#[inline(always)]
fn two_product(a: f64, b: f64) -> (f64, f64) {
    let split = |x: f64| {
        let c = 134_217_729.0 * x;
        let high = c - (c - x);
        (high, x - high)
    };
    let p = a * b;
    let ((ah, al), (bh, bl)) = (split(a), split(b));
    (p, ((ah * bh - p) + ah * bl + al * bh) + al * bl)
}

/// e^(x + tail) as 2^exponent (high + low) for |x| < 1000, and the part of the table in `high`.
#[inline(always)]
fn exp_parts(x: f64, tail: f64) -> (i64, f64, f64) {
    let k = (x * STEPS + ROUND) - ROUND;
    let r = ((x - k * STEP.0) - k * STEP.1) + tail;
    let p = r + r * r * (0.5 + r * (1.0 / 6.0 + r * (1.0 / 24.0 + r * (1.0 / 120.0 + r * (1.0 / 720.0)))));
    let k = k as i64;
    let (high, low) = POWERS[(k & 63) as usize];
    let high = f(high);
    (k >> 6, high, f(low) + high * p)
}

/// 2^e x, rounded once.
#[inline(always)]
fn scaled(x: f64, e: i64) -> f64 {
    if (-1021..=1022).contains(&e) {
        return x * f(((e + 1023) as u64) << 52);
    }
    // In two steps, of which only the last one rounds.
    let first = e.clamp(-1000, 1000);
    x * f(((first + 1023) as u64) << 52) * f(((e - first + 1023) as u64) << 52)
}

/// eˣ.
#[inline]
pub fn exp(x: f64) -> f64 {
    if x.abs() < 708.0 {
        let (e, high, low) = exp_parts(x, 0.0);
        return (high + low) * f(((e + 1023) as u64) << 52);
    }
    if x.is_nan() {
        x
    } else if x > 709.8 {
        f64::INFINITY
    } else if x < -745.2 {
        0.0
    } else {
        let (e, high, low) = exp_parts(x, 0.0);
        scaled(high + low, e)
    }
}

/// eˣ − 1.
pub fn expm1(x: f64) -> f64 {
    if x.abs() < 0.6 {
        if x.abs() < 1e-17 {
            return x;
        }
        let (e, high, low) = exp_parts(x, 0.0);
        let scale = f(((e + 1023) as u64) << 52);
        // Exact: the table's value is within a factor 2 of 1.
        return (high * scale - 1.0) + low * scale;
    }
    if x < -40.0 { -1.0 } else { exp(x) - 1.0 }
}

/// ln x for a positive normal number, in two numbers: their sum is within 2⁻⁶⁵ of it, or of x − 1 times that near 1.
#[inline(always)]
fn log_parts(x: f64) -> (f64, f64) {
    let bits = x.to_bits();
    let from = bits.wrapping_sub(0x3fe6_0000_0000_0000);
    let k = (from as i64 >> 52) as f64;
    let z = f(bits.wrapping_sub(from & 0xfff0_0000_0000_0000));
    let (c, inverse, high, low) = LOGS[(from >> 45) as usize & 127];
    let (c, inverse) = (f(c), f(inverse));
    // d is exact, and so is its difference from r c, since c has few digits.
    let d = z - c;
    let r = d * inverse;
    let (p, lost) = two_product(r, c);
    let rest = ((d - p) - lost) * inverse;
    let (table, t) = two_sum(k * LN2.0, f(high));
    let (a, b) = two_sum(table, r);
    // −r²/2 in two numbers, then the further terms.
    let (square, q) = two_product(r, r);
    let (a, s) = two_sum(a, -0.5 * square);
    let series = r * square * (1.0 / 3.0 + r * (-0.25 + r * (0.2 + r * (-1.0 / 6.0 + r * (1.0 / 7.0 - r * 0.125)))));
    let tail = (t + b + s) + (k * LN2.1 + f(low)) + rest * (1.0 - r) - 0.5 * q + series;
    (a, tail)
}

/// ln x.
#[inline]
pub fn log(x: f64) -> f64 {
    // Positive, finite, not subnormal.
    if x.to_bits().wrapping_sub(0x0010_0000_0000_0000) < 0x7fe0_0000_0000_0000 {
        let (high, low) = log_parts(x);
        return high + low;
    }
    if x == 0.0 {
        f64::NEG_INFINITY
    } else if x < 0.0 {
        f64::NAN
    } else if x < f64::MIN_POSITIVE {
        let (high, low) = log_parts(x * 18_014_398_509_481_984.0);
        (high - 54.0 * LN2.0) + (low - 54.0 * LN2.1)
    } else {
        x
    }
}

/// ln(1 + x).
pub fn log1p(x: f64) -> f64 {
    let u = 1.0 + x;
    if u <= 0.0 || !u.is_finite() || x.abs() > 1e17 {
        return log(u);
    }
    if x.abs() < 1e-17 {
        return x;
    }
    // What the sum lost, relative to it.
    let (_, lost) = two_sum(1.0, x);
    let (high, low) = log_parts(u);
    high + (low + lost / u)
}

/// x to the power y.
pub fn pow(x: f64, y: f64) -> f64 {
    let ordinary = x.to_bits().wrapping_sub(0x0010_0000_0000_0000) < 0x7fe0_0000_0000_0000;
    if ordinary && y.abs() < 1e300 && y.abs() > 1e-300 {
        let (high, low) = log_parts(x);
        let (p, lost) = two_product(y, high);
        if p.abs() < 700.0 {
            let (e, high, low) = exp_parts(p, lost + y * low);
            return (high + low) * f(((e + 1023) as u64) << 52);
        }
    }
    libm::pow(x, y)
}

/// tanh x.
pub fn tanh(x: f64) -> f64 {
    let a = x.abs();
    let t = if a > 22.0 {
        1.0
    } else if a < 1e-8 {
        return x;
    } else {
        let e = expm1(2.0 * a);
        e / (e + 2.0)
    };
    if x.is_nan() { x } else { t.copysign(x) }
}

/// eˣ.
pub fn expf(x: f32) -> f32 {
    exp(f64::from(x)) as f32
}

/// eˣ − 1.
pub fn expm1f(x: f32) -> f32 {
    expm1(f64::from(x)) as f32
}

/// ln x.
pub fn logf(x: f32) -> f32 {
    log(f64::from(x)) as f32
}

/// ln(1 + x).
pub fn log1pf(x: f32) -> f32 {
    log1p(f64::from(x)) as f32
}

/// x to the power y.
pub fn powf(x: f32, y: f32) -> f32 {
    pow(f64::from(x), f64::from(y)) as f32
}

/// tanh x.
pub fn tanhf(x: f32) -> f32 {
    tanh(f64::from(x)) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Steps from one number to the other; 0 for two NaN.
    fn apart(a: f64, b: f64) -> u64 {
        if a == b || (a.is_nan() && b.is_nan()) {
            return 0;
        }
        let ordered = |x: f64| if x < 0.0 { -((x.to_bits() & !(1 << 63)) as i64) } else { x.to_bits() as i64 };
        ordered(a).abs_diff(ordered(b))
    }

    /// Numbers over these decades, of both signs.
    fn numbers(from: i32, to: i32) -> Vec<f64> {
        let n = 40_000;
        let magnitude = |i: i32| libm::pow(10.0, f64::from(from) + f64::from((to - from) * i) / f64::from(n));
        (0..n).flat_map(|i| [magnitude(i), -magnitude(i)]).collect()
    }

    const SPECIAL: [f64; 16] = [
        0.0,
        -0.0,
        1.0,
        -1.0,
        2.0,
        -2.0,
        0.5,
        5e-324,
        -5e-324,
        1e-310,
        f64::MIN_POSITIVE,
        f64::MAX,
        f64::MIN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::NAN,
    ];

    type Function = fn(f64) -> f64;
    const ALL: [(&str, Function, Function, u64); 5] = [
        ("exp", exp, libm::exp, 1),
        ("expm1", expm1, libm::expm1, 2),
        ("log", log, libm::log, 1),
        ("log1p", log1p, libm::log1p, 2),
        ("tanh", tanh, libm::tanh, 4),
    ];

    #[test]
    fn functions_of_one_number_are_those_of_the_libm_crate() {
        for (name, own, other, most) in ALL {
            let near_one = numbers(-16, -1).into_iter().map(|x| 1.0 + x);
            for x in numbers(-20, 3).into_iter().chain(near_one).chain(SPECIAL) {
                assert!(apart(own(x), other(x)) <= most, "{name}({x:e}) = {:e}, not {:e}", own(x), other(x));
            }
        }
        for x in numbers(-320, 308).into_iter().filter(|x| *x > 0.0) {
            assert!(apart(log(x), libm::log(x)) <= 1, "{x:e}");
        }
    }

    #[test]
    fn powers_are_those_of_the_libm_crate() {
        for y in [0.2, -0.2, 1.37, -3.0, 25.0, 0.5, 1e-5, -700.0, 1e9] {
            let near_one = numbers(-9, -1).into_iter().map(|x| 1.0 + x);
            for x in numbers(-300, 300).into_iter().chain(near_one) {
                assert!(apart(pow(x, y), libm::pow(x, y)) <= 1, "{x:e}^{y}: {:e}", pow(x, y));
            }
        }
        for x in SPECIAL {
            for y in SPECIAL {
                assert!(apart(pow(x, y), libm::pow(x, y)) <= 1, "{x:e}^{y:e}");
            }
        }
    }

    #[test]
    fn functions_in_f32_are_rounded_once_more() {
        type Narrow = fn(f32) -> f32;
        let all: [(&str, Narrow, Function); 5] = [
            ("expf", expf, libm::exp),
            ("expm1f", expm1f, libm::expm1),
            ("logf", logf, libm::log),
            ("log1pf", log1pf, libm::log1p),
            ("tanhf", tanhf, libm::tanh),
        ];
        for (name, own, other) in all {
            for x in numbers(-8, 2) {
                let (found, expected) = (own(x as f32), other(f64::from(x as f32)) as f32);
                assert!(apart(found.into(), expected.into()) <= 1 << 29, "{name}({x:e})");
            }
        }
        assert_eq!(powf(3.0, 2.0), 9.0);
    }
}
