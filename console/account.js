// Who is logged in. The token lives as long as this tab, and is sent in a header, never in a URL.

const KEY = "cairn.token";

export const token = () => sessionStorage.getItem(KEY);

export const keep = (token) => sessionStorage.setItem(KEY, token);

export const forget = () => sessionStorage.removeItem(KEY);
