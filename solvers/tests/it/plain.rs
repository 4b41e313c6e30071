//! Without the feature `implicit` an implicit method is refused by name, before anything is computed.

use cnflow_solvers::{Implicit, Method, Options, SolveError, methods, solve_here};

use crate::problems::LINEAR;

#[test]
fn implicit_methods_name_the_feature_that_they_need() {
    assert_eq!(Method::all().count(), methods::ALL.len());
    for method in Implicit::ALL {
        let needed = SolveError::Unsupported { method: method.name(), needs: "the feature `implicit`" };
        assert_eq!(Method::named(method.name()).unwrap_err(), needed);
        let options = Options { method: method.into(), ..Options::default() };
        assert_eq!(solve_here(LINEAR[0].field(), (), &[1.0], (0.0, 1.0), &options).unwrap_err(), needed);
    }
}
