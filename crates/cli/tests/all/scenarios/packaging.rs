//! A packager over the years, as long as the authorities of its operator last: each certificate follows the one before,
//! without a token, and the keys stay.

use keyward_license::error_code::ErrorCode;
use keyward_packager::exchange::ExchangeError;
use keyward_server::policy::Preset;

use crate::scenarios::{
    broadcast::Studio,
    world::{DAY, World},
};

#[test]
fn v_055_a_packager_packages_for_years_with_the_token_of_its_first_day() {
    let world = World::offering(Preset::Subscription);
    let (mut studio, mut neglected) = (Studio::new(&world), Studio::new(&world));
    let key = |studio: &Studio<'_>| {
        let data = studio.ask_for("film-1")?;
        Ok::<_, ExchangeError>((data.tracks[0].kid, *data.tracks[0].key.expose()))
    };
    let first = key(&studio).unwrap();
    let mut renewals = 0;
    for _ in 0..15 {
        world.pass(100 * DAY);
        // The server renews its own certificates when it looks.
        world.restart_server();
        if studio.owes_renewal() {
            studio.renew().unwrap();
            renewals += 1;
        }
        assert!(!studio.owes_renewal());
        assert_eq!(key(&studio).unwrap(), first);
    }
    assert!(
        (3..=5).contains(&renewals),
        "{renewals} in 2000 days of two years each"
    );
    // What was not renewed in time is renewed by nobody.
    assert!(!neglected.owes_renewal());
    for refused in [key(&neglected).unwrap_err(), neglected.renew().unwrap_err()] {
        let ExchangeError::ServerRefused(problem) = &refused else {
            panic!("{refused}");
        };
        assert_eq!(problem.code, ErrorCode::CertificateRefused.number(), "{refused}");
    }
    assert_eq!(key(&studio).unwrap(), first);
}
