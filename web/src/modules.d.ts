declare module "*.py" {
  const source: string;
  export default source;
}

declare module "*.css" {
  const style: string;
  export default style;
}
