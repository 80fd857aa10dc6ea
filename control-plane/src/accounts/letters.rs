//! What the letters of accounts say. A code is the only number of six digits in its letter, so nothing of the person's
//! own (a name, an address) stands there but a username, and that with its longer numbers cut.

use crate::outbound::mail::Letter;

/// Digits of a code.
const CODE_DIGITS: usize = 6;

/// Shows that a mailbox is the account's. Anybody can sign up with this address, and only its owner can tell whether
/// the account is their own: by its username.
pub fn verify_email(code: &str, username: &str) -> Letter {
    Letter {
        subject: "Verify your e-mail address",
        text: format!(
            "Welcome to ApiCLay. Your code is {code}. It is good for 10 minutes and opens the account with the \
             username \"{}\".\n\n\
             If you did not sign up with this username, do not use the code: the account is somebody else's, and \
             without the code it stays closed.\n",
            without_codes(username)
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

/// A name in which no number is long enough for a code.
fn without_codes(name: &str) -> String {
    let mut digits = 0;
    let cut = |c: char| {
        digits = if c.is_numeric() { digits + 1 } else { 0 };
        if digits < CODE_DIGITS { c } else { '.' }
    };
    name.chars().map(cut).collect()
}
