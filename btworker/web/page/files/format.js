// Numbers as people read them.

/** 0:07, 12:04, 1:02:03 */
export function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const two = (number) => String(number).padStart(2, "0");
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  return hours ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
}

/** 40 s, 3 min, 1 h 20 min */
export function span(seconds) {
  if (seconds < 59.5) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** 12 KB, 3.4 MB, 1.2 GB */
export function bytes(count) {
  if (count < 1e6) return `${Math.max(1, Math.round(count / 1e3))} KB`;
  if (count < 1e9) return `${(count / 1e6).toFixed(1)} MB`;
  return count < 1e10 ? `${(count / 1e9).toFixed(2)} GB` : `${Math.round(count / 1e9)} GB`;
}

/** 29 Nov, 14:05; today only the time */
export function moment(text) {
  const date = new Date(text);
  const time = { hour: "2-digit", minute: "2-digit" };
  const isToday = date.toDateString() === new Date().toDateString();
  return date.toLocaleString(undefined, isToday ? time : { day: "numeric", month: "short", ...time });
}
