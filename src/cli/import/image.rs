//! The options of a state dict of images that does not describe itself.

use std::path::Path as File;
use std::str::FromStr;

use anyhow::Result;
use clap::Args;
use cnflow::io::safetensors::ModelFile;
use cnflow::model::state_dict;
use cnflow::train::{Net, Preconditioning};
use cnflow::velocity::{GaussianPath, ImageSpec, Path, PreconditionedSpec, VelocitySpec};
use cnflow::{Error, ImageShape};

/// What the weights are the net of.
#[derive(Debug, Args)]
#[command(next_help_heading = "Images (a state dict without a description)")]
pub struct ImageArgs {
    /// Size of the images, as 28x28 or 32x32x3; the net is that of `cnf train --net convolution`.
    #[arg(long, value_name = "HEIGHTxWIDTH[xCHANNELS]", conflicts_with_all = ["activation", "time_features"])]
    pub image: Option<Size>,
    /// none: the net is the velocity; gaussian: it corrects that of a Gaussian [default: gaussian].
    #[arg(long, value_name = "HOW")]
    pub preconditioning: Option<Preconditioning>,
    /// Channels of the net at full, half and a quarter of the size [default: 16,32,32].
    #[arg(long, value_name = "WIDTHS", value_delimiter = ',', num_args = 1)]
    pub hidden: Option<Vec<usize>>,
    /// The path of the Gaussian: straight or vp [default: straight].
    #[arg(long, value_name = "NAME")]
    pub path: Option<Path>,
    /// Standard deviation of the Gaussian [default: 1].
    #[arg(long, value_name = "S")]
    pub deviation: Option<f64>,
}

/// An [`ImageShape`], as typed.
#[derive(Clone, Copy, Debug)]
pub struct Size(ImageShape);

impl FromStr for Size {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let sizes: Option<Vec<usize>> = text.split('x').map(|size| size.parse().ok()).collect();
        let (height, width, channels) = match sizes.as_deref() {
            Some(&[height, width]) => (height, width, 1),
            Some(&[height, width, channels]) => (height, width, channels),
            _ => {
                let problem = format!("`{text}` is not the size of an image");
                return Err(Error::invalid(problem, "give HEIGHTxWIDTH or HEIGHTxWIDTHxCHANNELS, such as 28x28"));
            }
        };
        Ok(Self(ImageShape { height, width, channels }))
    }
}

impl ImageArgs {
    /// Refuses the options of a Gaussian where no size says that the weights are those of images. (The parser's own
    /// rule would not, where an option is given that has no meaning for images.)
    ///
    /// # Errors
    /// [`Error::Invalid`].
    pub fn check(&self) -> Result<()> {
        let given = [
            ("--hidden", self.hidden.is_some()),
            ("--preconditioning", self.preconditioning.is_some()),
            ("--path", self.path.is_some()),
            ("--deviation", self.deviation.is_some()),
        ];
        if let (None, Some((option, _))) = (self.image, given.iter().find(|(_, given)| *given)) {
            let problem = format!("{option} was given without --image");
            return Err(Error::invalid(problem, "give --image HEIGHTxWIDTH, or leave it out").into());
        }
        Ok(())
    }

    /// The velocity that the options define.
    ///
    /// # Errors
    /// As [`VelocitySpec::validate`]; [`Error::Invalid`] for the options of a Gaussian that there is not.
    pub fn velocity(&self, Size(shape): &Size, condition_dim: usize) -> Result<VelocitySpec> {
        let channels = Net::channels(self.hidden.as_deref().unwrap_or_default())?;
        let net = VelocitySpec::Image(ImageSpec::recipe(*shape, condition_dim, channels));
        net.validate()?;
        if self.preconditioning == Some(Preconditioning::None) {
            let given = [("--path", self.path.is_some()), ("--deviation", self.deviation.is_some())];
            if let Some((option, _)) = given.iter().find(|(_, given)| *given) {
                let problem = format!("{option} has no meaning for --preconditioning none");
                return Err(Error::invalid(problem, format!("leave out {option}")).into());
            }
            return Ok(net);
        }
        let gaussian = GaussianPath { path: self.path.unwrap_or_default(), deviation: self.deviation.unwrap_or(1.0) };
        let velocity = VelocitySpec::Preconditioned(Box::new(PreconditionedSpec { gaussian, net }));
        velocity.validate()?;
        Ok(velocity)
    }

    /// θ of this velocity in a file.
    ///
    /// # Errors
    /// As [`state_dict::theta`]; [`Error::Read`] where the inputs beside the image show another condition.
    pub fn theta(&self, path: &File, file: &ModelFile, velocity: &VelocitySpec) -> Result<Vec<f32>> {
        if let VelocitySpec::Image(spec) = velocity.net()
            && let Some(first) = file.tensors.iter().find(|tensor| tensor.name.ends_with("embedding.0.weight"))
            && let [_, found] = first.shape[..]
            && found != spec.net.aux
        {
            let (features, given) = (spec.net.aux - spec.condition_dim, spec.condition_dim);
            let problem = format!(
                "the net takes {found} numbers beside the image, but {features} features of time and a condition of \
                 {given} are {}",
                spec.net.aux
            );
            let hint = match found.checked_sub(features) {
                Some(columns) => format!("give --condition-dim {columns}"),
                None => format!("give the net at least the {features} features of time as inputs"),
            };
            return Err(Error::read(path, problem, hint).into());
        }
        Ok(state_dict::theta(path, file, velocity)?)
    }
}
