// Opens the payment provider's checkout for one top-up, and brings its word to the server. Where it is not brought (a tab
// that was closed) the server hears of the payment by itself.
"use strict";
const pay = document.getElementById("pay");
const say = (text) => { document.getElementById("pay-status").textContent = text; };

// Between two tries to bring it, in milliseconds.
const PAUSES_MS = [1_000, 3_000, 9_000];
const pause = (ms) => new Promise((done) => { setTimeout(done, ms); });

async function isBrought(body) {
  const headers = { "Content-Type": "application/json", "X-CSRF-Token": pay.dataset.csrf };
  try {
    return (await fetch(pay.dataset.confirm, { method: "POST", headers, body })).ok;
  } catch {
    return false;
  }
}

// Whoever comes here has paid: the button does not come back, whatever becomes of the word, or he would pay twice.
async function bring(word) {
  pay.hidden = true;
  say("Your payment is being confirmed.");
  const body = JSON.stringify({ payment_id: word.razorpay_payment_id, signature: word.razorpay_signature });
  for (const ms of [0, ...PAUSES_MS]) {
    await pause(ms);
    if (await isBrought(body)) {
      location.assign(pay.dataset.page);
      return;
    }
  }
  say("Paid; we are waiting to hear of it from the payment provider. It is credited then by itself: do not pay again. You need not wait here.");
}

// Not called `open`: that would take the place of window.open, by which the checkout opens a bank's window.
function showCheckout() {
  const { key, order, amount, currency, name } = pay.dataset;
  const ondismiss = () => say("The payment was not finished. If money was taken all the same, it is credited by itself.");
  new Razorpay({ key, order_id: order, amount: Number(amount), currency, name, handler: bring, modal: { ondismiss } }).open();
}

if (typeof Razorpay === "undefined") {
  say("The payment provider's checkout could not be loaded. Allow checkout.razorpay.com, then load this page again.");
} else {
  pay.hidden = false;
  pay.addEventListener("click", showCheckout);
}
