//! What the letters of accounts say. A code is the only number of six digits in its letter, so nothing of the person's
//! own (a name, an address) stands there.

use crate::outbound::mail::Letter;

/// Shows that a mailbox is the account's.
pub fn verify_email(code: &str) -> Letter {
    Letter {
        subject: "Verify your e-mail address",
        text: format!(
            "Welcome to ApiCLay. Your code is {code}. It is good for 10 minutes and verifies your e-mail address.\n\n\
             If you did not sign up, do nothing: without the code the account stays closed.\n"
        ),
    }
}

/// Signs in.
pub fn sign_in(code: &str) -> Letter {
    Letter {
        subject: "Your sign-in code",
        text: format!(
            "Your code is {code}. It is good for 10 minutes and signs you in to ApiCLay.\n\n\
             Give it to nobody. If you did not ask for it, do nothing.\n"
        ),
    }
}

/// Sets a new password.
pub fn reset_password(code: &str) -> Letter {
    Letter {
        subject: "Your code for a new password",
        text: format!(
            "Your code is {code}. It is good for 10 minutes and lets you choose a new password for ApiCLay.\n\n\
             Give it to nobody. If you did not ask for it, do nothing: your password stays as it is.\n"
        ),
    }
}

/// Tells the owner of an address that somebody tried to sign up with it.
pub fn already_there() -> Letter {
    Letter {
        subject: "You already have an account",
        text: "Somebody, perhaps you, tried to sign up to ApiCLay with this e-mail address. You already have an \
               account: sign in, or ask for a new password.\n"
            .to_owned(),
    }
}

/// Tells the owner that the password is another one now.
pub fn password_changed() -> Letter {
    Letter {
        subject: "Your password was changed",
        text: "The password of your ApiCLay account was changed, and every other browser and program was signed out. \
               If this was not you, ask for a new password now.\n"
            .to_owned(),
    }
}
